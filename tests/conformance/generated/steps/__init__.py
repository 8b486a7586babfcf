"""The kinds of steps, a file for each that belongs together; importing them registers them."""

import tests.conformance.generated.steps.activities
import tests.conformance.generated.steps.clients
import tests.conformance.generated.steps.operators
import tests.conformance.generated.steps.starting
import tests.conformance.generated.steps.updates
import tests.conformance.generated.steps.workers  # noqa: F401 - imported for what they register
