import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.registry import BOUND, EXAMINED, LruRegistry


class Entry:
    def __init__(self, key):
        self.key = key
        self.idle = True


def registry(bound=3):
    return LruRegistry(Entry, evictable=lambda entry: entry.idle, bound=bound)


def keys(entries):
    return [key for key, _ in entries.items()]


def test_a_key_keeps_its_object():
    entries = registry()
    first = entries.get("a")
    assert first.key == "a"
    assert entries.get("a") is first
    assert entries.get("b") is not first


def test_the_least_recently_used_entry_makes_room_for_a_new_key():
    entries = registry(bound=3)
    for key in "abcad":
        entries.get(key)
    assert keys(entries) == ["c", "a", "d"]


def test_looking_at_the_entries_uses_none_of_them():
    entries = registry(bound=2)
    entries.get("a")
    entries.get("b")
    snapshot = entries.items()
    entries.get("c")
    assert [key for key, _ in snapshot] == ["a", "b"]
    assert keys(entries) == ["b", "c"]


def test_an_entry_that_remembers_something_is_passed_over():
    entries = registry(bound=3)
    for key in "abc":
        entries.get(key)
    entries.get("a").idle = entries.get("b").idle = False
    entries.get("d")
    assert keys(entries) == ["a", "b", "d"]


def test_a_registry_of_entries_that_remember_grows_to_twice_its_bound_and_no_further():
    entries = registry(bound=3)
    for number in range(20):
        entries.get(number).idle = False
    assert keys(entries) == [14, 15, 16, 17, 18, 19]


def test_an_entry_in_use_outlives_older_ones_when_nothing_can_be_evicted():
    entries = registry(bound=3)
    used = entries.get("used")
    used.idle = False
    for number in range(20):
        entries.get(number).idle = False
        assert entries.get("used") is used


def test_a_registry_that_grew_returns_to_its_bound_when_entries_can_be_forgotten():
    entries = registry(bound=3)
    grown = [entries.get(number) for number in range(3)]
    for entry in grown:
        entry.idle = False
    for number in range(3, 6):
        grown.append(entries.get(number))
        grown[-1].idle = False
    assert len(entries) == 6
    for entry in grown:
        entry.idle = True
    entries.get("new")
    assert keys(entries) == [4, 5, "new"]


def test_a_new_key_examines_a_bounded_number_of_entries():
    asked = []
    entries = LruRegistry(Entry, evictable=lambda entry: bool(asked.append(entry)), bound=200)
    for number in range(400):
        asked.clear()
        entries.get(number)
        assert len(asked) <= EXAMINED
    assert len(entries) == 400


def test_a_new_key_examines_only_the_oldest_entry_where_that_can_go():
    asked = []
    entries = LruRegistry(Entry, evictable=lambda entry: asked.append(entry) or True, bound=200)
    for number in range(300):
        entries.get(number)
    assert [entry.key for entry in asked] == list(range(100))
    assert len(entries) == 200


def test_the_bound_holds_ten_thousand_origins_unless_told_otherwise():
    asked = []
    entries = LruRegistry(Entry, evictable=lambda entry: asked.append(entry) or True)
    for number in range(10_000):
        entries.get(number)
    assert len(entries) == 10_000
    assert not asked
    for number in range(10_000, BOUND + 100):
        entries.get(number)
    assert len(entries) == BOUND


def test_a_key_whose_object_cannot_be_made_is_not_listed():
    def refuse(key):
        raise LookupError(key)

    entries = LruRegistry(refuse, evictable=bool)
    with pytest.raises(LookupError):
        entries.get("a")
    assert len(entries) == 0


def test_a_key_whose_object_cannot_be_made_takes_nobodys_place():
    def make(key):
        if key == "b":
            raise LookupError(key)
        return Entry(key)

    entries = LruRegistry(make, evictable=lambda entry: entry.idle, bound=1)
    kept = entries.get("a")
    with pytest.raises(LookupError):
        entries.get("b")
    assert entries.items() == [("a", kept)]
    assert entries.get("a") is kept


def test_nothing_is_a_key_like_others():
    assert registry().get(None).key is None


def test_what_another_thread_asks_for_is_not_taken_for_what_this_one_does():
    entries = registry()
    alarmed = []

    class Key(str):
        __slots__ = ()

        def __eq__(self, other):
            # Where the other thread may come in between.
            if isinstance(other, Key) and not alarmed:
                alarmed.append(entries.get("b"))
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    first = entries.get(Key("a"))
    assert entries.get(Key("a")) is first
    assert alarmed


@settings(deadline=None)
@given(
    bound=st.integers(1, 5),
    uses=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=80),
)
def test_whatever_is_used_the_size_stays_below_twice_the_bound_and_the_order_is_that_of_use(
    bound, uses
):
    made = []
    last_used = {}

    def make(key):
        made.append(key)
        return Entry(key)

    entries = LruRegistry(make, evictable=lambda entry: entry.idle, bound=bound)
    for key, idle in uses:
        entry = entries.get(key)
        entry.idle = idle
        last_used[key] = len(made)
        assert entry.key == key
        assert key in keys(entries)
        assert len(entries) <= 2 * bound
        if all(other.idle for _, other in entries.items()):
            entries.get("fresh")
            last_used["fresh"] = len(made)
            assert len(entries) <= bound
        uses_in_order = [last_used[key] for key in keys(entries)]
        assert uses_in_order == sorted(uses_in_order)


def test_those_used_between_two_new_keys_stay_in_the_order_of_their_first_use():
    entries = registry(bound=3)
    for key in "abc" + "aba":
        entries.get(key)
    assert keys(entries) == ["c", "a", "b"]
    entries.get("d")
    assert keys(entries) == ["a", "b", "d"]


def test_the_one_that_was_used_last_is_forgotten_like_any_other():
    entries = registry(bound=1)
    first = entries.get("a")
    assert entries.get("a") is first
    assert entries.get("b").key == "b"
    assert keys(entries) == ["b"]
    assert entries.get("a") is not first
