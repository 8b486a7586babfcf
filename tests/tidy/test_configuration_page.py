"""The committed page on configuration is what the code says."""

from perdure.server.configuration_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make compat`"
