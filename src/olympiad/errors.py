"""The base of all errors that are for the reader who caused them: the command line prints them without a traceback."""


class UserError(Exception):
    """Something that the user can mend: the message says what was expected, what came, and what to do."""
