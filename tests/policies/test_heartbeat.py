import math

from platform_http.policies.heartbeat import Beat, Heartbeat
from platform_http.testing import FakeClock


def make(interval=20.0, timeout=10.0):
    clock = FakeClock()
    return Heartbeat(interval=interval, timeout=timeout, clock=clock), clock


def test_a_ping_is_due_after_the_interval_of_silence():
    heartbeat, clock = make()
    clock.advance(19.9)
    assert heartbeat.beat() is Beat.NOTHING
    assert heartbeat.due == 1020
    clock.advance(0.1)
    assert heartbeat.beat() is Beat.PING


def test_a_ping_is_asked_for_once():
    heartbeat, clock = make()
    clock.advance(20)
    assert heartbeat.beat() is Beat.PING
    assert heartbeat.beat() is Beat.NOTHING
    assert heartbeat.due == clock.now + 10


def test_a_peer_that_stays_silent_is_given_up_after_the_timeout():
    heartbeat, clock = make()
    clock.advance(20)
    heartbeat.beat()
    clock.advance(9.9)
    assert heartbeat.beat() is Beat.NOTHING
    clock.advance(0.1)
    assert heartbeat.beat() is Beat.GIVE_UP


def test_whatever_is_heard_puts_off_the_next_ping_and_answers_the_last():
    heartbeat, clock = make()
    clock.advance(20)
    heartbeat.beat()
    clock.advance(5)
    heartbeat.heard()
    clock.advance(19)
    assert heartbeat.beat() is Beat.NOTHING
    clock.advance(1)
    assert heartbeat.beat() is Beat.PING


def test_a_late_look_pings_before_it_gives_up():
    heartbeat, clock = make()
    clock.advance(1000)
    assert heartbeat.beat() is Beat.PING


def test_nobody_is_given_up_while_nobody_listens():
    heartbeat, clock = make()
    clock.advance(20)
    heartbeat.beat()
    heartbeat.suspend()
    assert heartbeat.due == math.inf
    clock.advance(1000)
    assert heartbeat.beat() is Beat.NOTHING
    heartbeat.resume()
    assert heartbeat.due == clock.now + 20


def test_resuming_what_was_not_suspended_changes_nothing():
    heartbeat, clock = make()
    clock.advance(15)
    heartbeat.resume()
    clock.advance(5)
    assert heartbeat.beat() is Beat.PING


def test_an_infinite_interval_switches_it_off():
    heartbeat, clock = make(interval=math.inf)
    clock.advance(1e9)
    assert heartbeat.beat() is Beat.NOTHING
    assert heartbeat.due == math.inf
