"""The program: command line, configuration, supervision, wiring, and the simulator. Nobody imports it."""
