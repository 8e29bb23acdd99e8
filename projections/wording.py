"""What is kept and told of an error: without values that were refused, which are customers'.

Of pydantic's and PostgreSQL's errors; others are our own, and their texts are kept as they are.
"""

import psycopg
from pydantic import ValidationError

ERROR_LENGTH_MAX = 500


def without_values(error: Exception) -> str:
    """What it says, cut; of what was refused the places and the kinds of mistakes alone.

    Text that any column and any JSON can carry.
    """
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        text = error.diag.message_primary  # less DETAIL, which is rows
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in found)
    return text.replace("\x00", "")[:ERROR_LENGTH_MAX].encode("utf-8", "replace").decode()
