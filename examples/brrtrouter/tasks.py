"""Every task of kindloop for the checkout that BRRTROUTER_ROOT names. See `invoke --list`."""

from kindloop.tasks import collection

ns = collection()
