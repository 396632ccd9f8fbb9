"""Control flow: groups of lanes that stand at one place, split at branches and joined again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_interpreter import access, arithmetic, bits, matrix, registers, warp, wgmma
from ptx_interpreter.errors import BadShuffle, DivergentBarrier, LaunchError, Trap, Unsupported
from ptx_interpreter.lanes import WARP, Lanes, Mask, Step
from ptx_interpreter.parse import Instruction, width_of

__all__ = ["Runner"]

Values = NDArray[Any]
_STEPS = {**arithmetic.STEPS, **bits.STEPS, **warp.STEPS, **access.STEPS, **matrix.STEPS}
_STEPS |= wgmma.STEPS
_ENDS = ("bra", "ret", "exit", "brx", "trap")


def _ends_block(instruction: Instruction) -> bool:
    name, *rest = instruction.parts
    return name in _ENDS or (name in ("bar", "barrier") and "warp" not in rest)


@dataclass
class _Block:
    """Instructions between two places where lanes may part or meet."""

    steps: list[Step] = field(default_factory=list)
    end: Instruction | None = None
    gate: Instruction | None = None
    n_instructions: int = 0
    following: int = 0


class Runner:
    """Executes one kernel for the batches of a launch."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        unwritten = np.int64(registers.UNWRITTEN)
        for name in registers.is_watched(lanes.kernel):
            lanes.knowledge[name] = np.full(lanes.n, unwritten)
        self.instructions = self.lane_instructions = 0
        self.blocks = self._blocks()
        # Places and lanes of running groups; lanes that wait, by place; lanes still alive.
        self.groups: dict[int, Values] = {}
        self.parked: dict[int, Values] = {}
        self.alive = np.zeros(0, np.bool_)
        self.barrier = np.full(lanes.n, -1)
        self.barrier_place = np.zeros(lanes.n, np.int64)
        self.votes = np.zeros(lanes.n, np.bool_)

    # Binding --------------------------------------------------------------------------------

    def _blocks(self) -> dict[int, _Block]:
        instructions = self.lanes.kernel.instructions
        starts = {0, len(instructions), *self.lanes.kernel.labels.values()}
        for place, instruction in enumerate(instructions):
            if _ends_block(instruction):
                starts.add(place + 1)
            elif warp.is_collective(instruction):
                starts.add(place)
        places = sorted(starts)
        return {
            start: self._bind(start, stop)
            for start, stop in zip(places, [*places[1:], len(instructions)], strict=True)
        }

    def _bind(self, start: int, stop: int) -> _Block:
        block = _Block(following=stop, n_instructions=stop - start)
        for instruction in self.lanes.kernel.instructions[start:stop]:
            guard = registers.check_guard(self.lanes, instruction)
            if guard is not None:
                block.steps.append(guard)
            if _ends_block(instruction):
                block.end = instruction
                continue
            if warp.is_collective(instruction):
                block.gate = instruction
            step = self._step(instruction)
            if step is not None:
                step = registers.watched(self.lanes, instruction, step)
                block.steps.append(self._guarded(step, instruction))
        return block

    def _step(self, instruction: Instruction) -> Step | None:
        name = instruction.parts[0]
        if name == "fence" and instruction.parts[1] == "proxy":
            return wgmma.publish(self.lanes, instruction)
        if name in ("membar", "fence"):
            return self._fence()
        if name in ("nanosleep", "prefetch", "prefetchu", "discard", "pragma"):
            return None
        binder = _STEPS.get(name)
        if binder is None:
            raise self.lanes.fail(Unsupported, instruction, None, "not known to the interpreter")
        try:
            return binder(self.lanes, instruction)
        except LaunchError as error:
            if str(error).startswith("kernel "):
                raise
            raise self.lanes.fail(type(error), instruction, None, str(error)) from error

    def _fence(self) -> Step:
        lanes = self.lanes

        def run(mask: Mask) -> None:
            lanes.memory.ticks += 1
            identity = lanes.identity if mask is None else lanes.identity[mask]
            lanes.fences[identity] = lanes.memory.ticks

        return run

    def _guard(self, instruction: Instruction, mask: Mask) -> Mask:
        """Return the lanes of `mask` for which the guard holds."""
        if instruction.guard is None:
            return mask
        predicate = self.lanes.registers[instruction.guard]
        chosen = ~predicate if instruction.guard_negated else predicate
        return chosen & mask if mask is not None else chosen.copy()

    def _guarded(self, step: Step, instruction: Instruction) -> Step:
        if instruction.guard is None:
            return step

        def run(mask: Mask) -> None:
            chosen = self._guard(instruction, mask)
            assert chosen is not None
            if chosen.any():
                step(chosen)

        return run

    # Running --------------------------------------------------------------------------------

    def run(self, exists: Values) -> None:
        """Execute a batch from the first instruction until every lane has exited."""
        self.alive = exists.copy()
        self.groups, self.parked = {0: exists.copy()}, {}
        self.barrier[:] = -1
        while True:
            while self.groups:
                place = min(self.groups)
                self._execute(place, self.groups.pop(place))
            if not (self.barrier >= 0).any():
                break
            self._release()
        if self.parked:
            self._stuck()

    def _arrive(self, place: int, group: Values) -> None:
        if not group.any():
            return
        for waiting in (self.groups, self.parked):
            if place in waiting:
                group = group | waiting.pop(place)
        self.groups[place] = group

    def _execute(self, place: int, group: Values) -> None:
        mask: Mask = None if group.all() else group
        while True:
            block = self.blocks[place]
            if block.gate is not None and mask is not None:
                mask = self._gate(place, block.gate, mask)
                if mask is None:
                    return
            for step in block.steps:
                step(mask)
            self.instructions += block.n_instructions
            count = self.lanes.n if mask is None else int(np.count_nonzero(mask))
            self.lane_instructions += block.n_instructions * count
            if place == block.following:  # the end of the kernel
                self.alive[mask if mask is not None else slice(None)] = False
                return
            group = self.lanes.all_lanes if mask is None else mask
            if block.end is None:
                places = [(block.following, group)]
            else:
                places = self._finish(block, block.end, mask)
            if len(places) == 1 and not self.groups and places[0][0] not in self.parked:
                place, group = places[0]
                mask = None if group is self.lanes.all_lanes or group.all() else group
                continue
            for target, lanes in places:
                self._arrive(target, lanes)
            return

    def _finish(self, block: _Block, end: Instruction, mask: Mask) -> list[tuple[int, Values]]:
        """Execute what ends a block; return where lanes go."""
        name = end.parts[0]
        group = self.lanes.all_lanes if mask is None else mask
        if name in ("bar", "barrier"):
            return self._wait(block, end, mask)
        taken = self._guard(end, mask)
        leaving = group if taken is None else taken
        rest = group & ~leaving if end.guard is not None else None
        places = []
        if rest is not None and rest.any():
            places.append((block.following, rest))
        if name == "trap" and leaving.any():
            raise self.lanes.fail(Trap, end, int(np.flatnonzero(leaving)[0]), "the kernel gave up")
        if name in ("ret", "exit"):
            self.alive &= ~leaving
        elif name == "brx":
            index = self.lanes.source(end.operands[0], "u32")
            for position, label in enumerate(self.lanes.kernel.jump_tables[end.operands[1]]):
                chosen = leaving & (index == position)
                if chosen.any():
                    places.append((self.lanes.kernel.labels[label], chosen))
        elif leaving.any():
            places.append((self.lanes.kernel.labels[end.operands[0]], leaving))
        return places

    def _gate(self, place: int, instruction: Instruction, mask: Values) -> Mask:
        """Let whole warps through; park lanes whose partners have not arrived."""
        if instruction.parts[0] == "wgmma":
            return self._park(place, mask, wgmma.whole_groups(mask, self.alive))
        members = self.lanes.source(warp.member_operand(instruction), "b32")
        lane_bit = np.uint32(1) << (self.lanes.thread % WARP).astype(np.uint32)
        here = np.where(mask, lane_bit, np.uint32(0)).reshape(-1, WARP)
        present = np.bitwise_or.reduce(here, axis=1)
        alive = np.where(self.alive, lane_bit, np.uint32(0)).reshape(-1, WARP)
        living = np.bitwise_or.reduce(alive, axis=1)
        needed = np.broadcast_to(members, self.lanes.n).reshape(-1, WARP) & living[:, None]
        outside = mask & ((np.broadcast_to(members, self.lanes.n) & lane_bit) == 0)
        if outside.any():
            lane = int(np.flatnonzero(outside)[0])
            raise self.lanes.fail(
                BadShuffle, instruction, lane, "the lane is not in its own member mask"
            )
        return self._park(place, mask, mask & ((needed & ~present[:, None]) == 0).ravel())

    def _park(self, place: int, mask: Values, ready: Values) -> Mask:
        late = mask & ~ready
        if late.any():
            self.parked[place] = self.parked.get(place, False) | late
        if not ready.any():
            return None
        return ready

    # Barriers -------------------------------------------------------------------------------

    def _wait(self, block: _Block, end: Instruction, mask: Mask) -> list[tuple[int, Values]]:
        lanes = self.lanes
        parts, operands = end.parts, end.operands
        group = lanes.all_lanes if mask is None else mask
        if end.guard is not None or parts[1] == "arrive":
            raise lanes.fail(Unsupported, end, None, "a barrier with a guard, or arrival alone")
        is_vote = parts[1] == "red"
        number = operands[1] if is_vote else operands[0]
        if len(operands) > (3 if is_vote else 1):
            raise lanes.fail(Unsupported, end, None, "a barrier of a part of the block")
        if is_vote:
            predicate = operands[-1]
            values = lanes.source(predicate.lstrip("!"), "pred") ^ predicate.startswith("!")
            np.copyto(self.votes, values, where=group)
        identity = int(lanes.source(number, "u32")[0])
        if mask is None:
            self.barrier[:] = -1
            self._pass(group, block.following, end)
            return [(block.following, group)]
        self.barrier[mask], self.barrier_place[mask] = identity, block.following
        return []

    def _release(self) -> None:
        """Nobody can run: open the barriers at which whole blocks wait."""
        lanes = self.lanes
        by_block = self.barrier.reshape(lanes.n_blocks, -1)
        exists = lanes.exists.reshape(lanes.n_blocks, -1)
        waiting = by_block >= 0
        complete = (waiting == exists).all(axis=1)
        same = (np.where(exists, by_block, by_block[:, :1]) == by_block[:, :1]).all(axis=1)
        opened = complete & same
        if not opened.any():
            self._stuck()
        released = np.repeat(opened, lanes.block_lanes) & (self.barrier >= 0)
        places = np.unique(self.barrier_place[released])
        first_of_warp = self.barrier_place.reshape(-1, WARP)[:, :1]
        apart = (self.barrier_place.reshape(-1, WARP) != first_of_warp).ravel() & released
        if apart.any():
            place = int(self.barrier_place[apart][0])
            raise lanes.fail(
                DivergentBarrier,
                lanes.kernel.instructions[place - 1],
                int(np.flatnonzero(apart)[0]),
                "lanes of one warp wait at different barriers",
            )
        self.barrier[released] = -1
        for place in places:
            end = lanes.kernel.instructions[int(place) - 1]
            self._pass(released & (self.barrier_place == place), int(place), end, released)
        for place in places:
            self._arrive(int(place), released & (self.barrier_place == place))

    def _pass(
        self, group: Values, place: int, end: Instruction, together: Values | None = None
    ) -> None:
        """Mark lanes as synchronised, and give them the result of their vote."""
        lanes = self.lanes
        lanes.memory.ticks += 1
        np.copyto(lanes.sync, lanes.memory.ticks, where=group)
        if end.parts[1] != "red":
            return
        arrived = (group if together is None else together).reshape(lanes.n_blocks, -1)
        yes = self.votes.reshape(lanes.n_blocks, -1) & arrived
        operation = end.parts[2]
        result = {
            "popc": yes.sum(axis=1),
            "or": yes.any(axis=1),
            "and": (yes == arrived).all(axis=1),
        }[operation]
        ptx_type = "u32" if operation == "popc" else "pred"
        lanes.into(end.operands[0], ptx_type)(np.repeat(result, lanes.block_lanes), group)

    def _stuck(self) -> None:
        """Raise: lanes wait for others that will not come."""
        lanes = self.lanes
        waiting = np.flatnonzero(self.barrier >= 0)
        if len(waiting):
            lane = int(waiting[0])
            place = int(self.barrier_place[lane]) - 1
            mine = lanes.block_of == lanes.block_of[lane]
            missing = np.flatnonzero(mine & lanes.exists & (self.barrier < 0))
            other = lanes.where(int(missing[0])) if len(missing) else "others at another barrier"
            gone = "has exited" if len(missing) and not self.alive[missing[0]] else "is not there"
            raise lanes.fail(
                DivergentBarrier,
                lanes.kernel.instructions[place],
                lane,
                f"waits at a barrier, {other} {gone}",
            )
        place, group = next(iter(self.parked.items()))
        raise lanes.fail(
            BadShuffle,
            lanes.kernel.instructions[place],
            int(np.flatnonzero(group)[0]),
            "waits for lanes of its member mask that never come",
        )


def uses_fences(lanes: Lanes) -> bool:
    """Return whether the kernel publishes what it wrote to other blocks."""
    return any(
        i.parts[0] in ("membar", "fence") and "proxy" not in i.parts
        for i in lanes.kernel.instructions
    )


def register_bytes(lanes_per_register: int, kinds: list[str]) -> int:
    """Return the bytes of all registers of so many lanes."""
    return lanes_per_register * sum(width_of(kind) for kind in kinds)
