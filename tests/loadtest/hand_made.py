"""Samples made by hand, for verdicts that depend on no machine."""

from loadtest.generator.plan import OpenSample, Played
from loadtest.measure import Outcome


def sample(due_s, took_ms=50.0, outcome=Outcome.ACCEPTED, *, lag_ms=0.0, **more):
    status = {Outcome.ACCEPTED: 200, Outcome.SHED: 503, Outcome.LATE: 504, Outcome.FAILED: None}[outcome]
    sent_s = due_s + lag_ms / 1e3
    return OpenSample(due_s, sent_s, sent_s + took_ms / 1e3, outcome, status, **more)


def shed(due_s, took_ms=2.0):
    return sample(due_s, took_ms, Outcome.SHED, retry_after="1")


def played(samples):
    return Played(1000.0, samples, 30.0, 1.0, 0, 4, stopped=False)


def broken(findings):
    return [check.what for check in findings.checks if check.held is False]
