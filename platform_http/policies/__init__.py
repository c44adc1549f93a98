"""Decisions without I/O: what counts as failure, what is resent and when, who may send.

Standard library only. No policy awaits, reads a clock or rolls dice by itself: clock and random
source are injected, so that the same objects run in a session, under a fake clock in a test and in
a simulation. They return decisions, never raise them; middlewares turn decisions into exceptions.

One policy belongs to one event loop: nothing here takes a lock.
"""
