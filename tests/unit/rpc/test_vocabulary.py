"""Whatever may be asked of a chain, and whatever it may answer, can travel."""

import dataclasses
import importlib
import inspect
import pkgutil
import types
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from perdure import workflow
from perdure.base.errors import Bug, Unimplemented
from perdure.rpc.codec import Named, named, reader, unnamed, write
from perdure.rpc.vocabulary import NAMED
from perdure.workflow import deciders
from perdure.workflow.decide import DECIDERS
from perdure.workflow.requests import ActivityRef, External, PlanErrand

REQUEST_MODULES = [
    importlib.import_module(f"{workflow.__name__}.{module.name}")
    for module in pkgutil.iter_modules(workflow.__path__)
    if module.name == "requests" or module.name.endswith("_requests")
]
# Fields of requests.
PARTS = {External, ActivityRef}


def decided() -> dict[type, Any]:
    for module in pkgutil.iter_modules(deciders.__path__):
        importlib.import_module(f"{deciders.__name__}.{module.name}")
    # Other tests register requests of their own.
    own = {request: decider for request, decider in DECIDERS.items() if request.__module__.startswith("perdure.")}
    return {request: get_type_hints(decider)["return"] for request, decider in own.items()}


def alternatives(type_: Any) -> set[Any]:
    return set(get_args(type_)) if get_origin(type_) is types.UnionType else {type_}


def test_every_class_of_the_request_modules_has_a_name() -> None:
    assert len(REQUEST_MODULES) >= 6
    classes = {
        each
        for module in REQUEST_MODULES
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__
    }
    assert classes - PARTS <= set(NAMED.values())


def test_every_request_that_is_decided_has_a_name() -> None:
    assert len(decided()) > 35
    assert decided().keys() <= set(NAMED.values())


def test_every_reply_has_a_name() -> None:
    # What a plan is carried out with stays where the run is: the shard asks for it itself.
    replies = set().union(*(alternatives(reply) for request, reply in decided().items() if request is not PlanErrand))
    assert len(replies) > 25
    assert replies <= set(NAMED.values())


def test_no_two_types_share_a_name() -> None:
    assert len(set(NAMED.values())) == len(NAMED)
    assert all(name == "" or name.rpartition(".")[2] == type_.__name__ for name, type_ in NAMED.items())


@pytest.mark.parametrize("name", sorted(NAMED))
def test_what_has_a_name_can_be_read(name: str) -> None:
    reader(NAMED[name])


def test_what_has_no_name_is_a_bug() -> None:
    with pytest.raises(Bug, match="module has no name"):
        named(types)


def test_a_name_of_a_newer_release_is_told() -> None:
    body = write(("StartNexus", {"request": b""}))
    with pytest.raises(Unimplemented, match="knows no 'StartNexus'"):
        unnamed(reader(Named)(body))


def test_a_field_of_a_newer_release_is_left_alone() -> None:
    request_type = NAMED["ResetSticky"]
    assert dataclasses.is_dataclass(request_type)
    found = unnamed(Named("ResetSticky", msgspec.Raw(msgspec.msgpack.encode({"run_id": "run", "why": "new"}))))
    assert found == NAMED["ResetSticky"]("run")


def test_what_can_not_travel_is_a_bug() -> None:
    with pytest.raises(Bug, match="object does not travel"):
        write((object(),))
    with pytest.raises(Bug, match="cannot be sent"):
        write(2**70)
