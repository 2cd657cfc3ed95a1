"""The broker inside a program: on a loop, on a thread, in memory and on a directory."""
