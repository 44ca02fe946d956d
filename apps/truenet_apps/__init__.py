"""What people start: the `enhance` and `truenet` commands."""
