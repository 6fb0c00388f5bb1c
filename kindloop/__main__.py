"""`python -m kindloop`: the command `kindloop`, where it is not on PATH."""

from kindloop.tasks.program import main

main()
