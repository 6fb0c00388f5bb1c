"""The tasks of this repository: all of kindloop's. See `invoke --list`."""

from kindloop.tasks import collection

ns = collection()
