"""Attacks on `northwatch up` as shipped, each beside an honest terminal and an operator who are watched.

An attack is one file in `attacks/`: a module whose docstring's first line says what is tried, with a function

    def attack(target: Target) -> str

that does it, raises AssertionError where it did harm that the watch does not see, and returns in a few words
what it cost the attacker and the service. It may set `SETTINGS`, the environment of the service without the
`NORTHWATCH_` of the names; attacks with equal settings share one running service, so an attack leaves it
running.

`make test` runs each once, small; `make hostile` in full size (`target.is_long`), and judges what was felt.
`attacker.py` is somebody who has not read this list, for an hour by `make hostile LONG=1`.
The frames are written here (`wire.py`), not by the product that is to read them.
"""
