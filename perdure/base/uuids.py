"""The form of run ids. Refuses to make any: `perdure.base.entropy` does."""

import uuid


def is_uuid(text: str) -> bool:
    """True for the forms of a UUID that the API takes."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
