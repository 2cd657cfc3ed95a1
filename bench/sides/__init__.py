"""Programs that use one library each, as its users do: a process for each measurement, figures as JSON on its output.

They know the library, a port and a queue; nothing of each other, and nothing of what they are compared with.
"""
