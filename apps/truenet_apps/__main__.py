"""`python -m truenet_apps` is the `truenet` command; torchrun starts it so."""

from truenet_apps.main import run

run()
