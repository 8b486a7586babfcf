"""What all suites share: nothing yet but the place for it. Fixtures live beside the tests that use them."""
