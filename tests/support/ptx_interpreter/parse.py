"""PTX text to instructions: scopes renamed apart, labels resolved, nothing interpreted yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ptx_interpreter.errors import Unsupported

__all__ = ["Instruction", "KernelText", "ModuleText", "Parameter", "Variable", "parse_module"]

WIDTHS = {"8": 1, "16": 2, "32": 4, "64": 8, "16x2": 4, "128": 16}


def width_of(ptx_type: str) -> int:
    """Return the bytes of a PTX type such as "u32"; predicates count as one."""
    return 1 if ptx_type == "pred" else WIDTHS[ptx_type.lstrip("busf")]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: ``@guard opcode operands;``."""

    opcode: str
    operands: tuple[str, ...]
    guard: str | None
    guard_negated: bool
    line: int

    @property
    def parts(self) -> list[str]:
        """Return the opcode split at its dots."""
        return self.opcode.replace("::", ":").split(".")

    def __str__(self) -> str:
        guard = f"@{'!' * self.guard_negated}{self.guard} " if self.guard else ""
        return f"{guard}{self.opcode} {', '.join(self.operands)}".strip()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a kernel; `ptx_type` is "b8" with `nbytes` of a struct by value."""

    name: str
    ptx_type: str
    nbytes: int
    is_array: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in shared, local, constant or global space."""

    name: str
    space: str
    alignment: int
    nbytes: int
    initial: bytes | None
    is_extern: bool


@dataclass(eq=False)
class KernelText:
    """One kernel, read but not bound to any grid."""

    name: str
    parameters: list[Parameter] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    jump_tables: dict[str, list[str]] = field(default_factory=dict)
    max_threads: int = 1024


@dataclass
class ModuleText:
    """Kernels and variables of one PTX file."""

    target: str
    kernels: dict[str, KernelText]
    variables: list[Variable]


_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(r"\s+|(?P<open>\{)|(?P<close>\})|(?P<label>[$\w]+):(?!:)|(?P<statement>[^;]+;)")
_STATEMENT = re.compile(r"(?:@(!?)([%$\w]+)\s+)?([\w.:]+)\s*(.*)", re.DOTALL)
_NAME = re.compile(r"%?[$\w]+")


def _blank(match: re.Match[str]) -> str:
    """Keep the line numbers of what follows."""
    return re.sub(r"[^\n]", " ", match.group())


def split_operands(text: str) -> tuple[str, ...]:
    """Split at the commas that stand outside braces and brackets."""
    found, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in "{[(":
            depth += 1
        elif character in "}])":
            depth -= 1
        elif character == "," and depth == 0:
            found.append(text[start:position])
            start = position + 1
    found.append(text[start:])
    return tuple(" ".join(operand.split()) for operand in found if operand.strip())


def _variable(statement: str) -> Variable:
    head, _, tail = statement.partition("=")
    words = head.replace(",", " ").split()
    alignment = int(words[words.index(".align") + 1]) if ".align" in words else 0
    match = re.search(r"\.([busf]\d+)\s+([$\w]+)\s*((?:\[\d*\]\s*)*)$", head)
    if match is None:
        raise Unsupported(f"cannot read the declaration '{statement}'")
    element = width_of(match.group(1))
    count = 1
    for extent in re.findall(r"\[(\d*)\]", match.group(3)):
        count *= int(extent or 0)
    initial = None
    if tail:
        numbers = [_integer(word) for word in re.findall(r"[-\w]+", tail)]
        initial = b"".join((n % (1 << 8 * element)).to_bytes(element, "little") for n in numbers)
        initial = initial.ljust(count * element, b"\0")
    space = next(s for s in ("shared", "local", "const", "global") if f".{s}" in words)
    return Variable(
        match.group(2),
        space,
        max(alignment, element),
        count * element,
        initial,
        ".extern" in words,
    )


def _integer(word: str) -> int:
    if word.startswith("0f"):
        return int(word[2:], 16)
    if word.startswith("0d"):
        return int(word[2:], 16)
    return int(word.rstrip("U"), 0)


def _parameters(text: str) -> list[Parameter]:
    found, offset = [], 0
    for declaration in split_operands(text):
        match = re.search(r"\.([busf]\d+)\s.*?([$\w]+)(?:\[(\d+)\])?$", declaration)
        if match is None:
            raise Unsupported(f"cannot read the parameter '{declaration}'")
        ptx_type, name, extent = match.groups()
        aligned = re.search(r"^\.param\s+\.align\s+(\d+)", declaration)
        nbytes = width_of(ptx_type) * int(extent or 1)
        alignment = int(aligned.group(1)) if aligned else width_of(ptx_type)
        offset = -(-offset // alignment) * alignment
        found.append(Parameter(name, ptx_type, nbytes, extent is not None, offset))
        offset += nbytes
    return found


class _Body:
    """Reads the body of one kernel; inner scopes may declare a name again."""

    def __init__(self, kernel: KernelText) -> None:
        self.kernel = kernel
        self.scopes: list[dict[str, str]] = [{}]
        self.n_scopes = 0

    def rename(self, operand: str) -> str:
        if len(self.scopes) == 1:
            return operand
        return _NAME.sub(lambda match: self._known(match.group()), operand)

    def _known(self, name: str) -> str:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return name

    def declare(self, statement: str) -> None:
        match = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.DOTALL)
        assert match is not None, statement
        for item in split_operands(match.group(2)):
            base, _, count = item.partition("<")
            names = [f"{base}{i}" for i in range(int(count[:-1]))] if count else [base]
            for name in names:
                unique = name if len(self.scopes) == 1 else f"{name}_in{self.n_scopes}"
                if len(self.scopes) > 1:
                    self.scopes[-1][name] = unique
                self.kernel.registers[unique] = match.group(1)

    def read(self, text: str, line: int) -> None:
        pending_label = ""
        for kind, value, at in _tokens(text, line):
            if kind == "open":
                self.n_scopes += 1
                self.scopes.append({})
            elif kind == "close":
                self.scopes.pop()
            elif kind == "label":
                pending_label = value
                self.kernel.labels[value] = len(self.kernel.instructions)
            else:
                self.statement(" ".join(value.rstrip(";").split()), at, pending_label)

    def statement(self, statement: str, line: int, label: str) -> None:
        kernel = self.kernel
        if statement.startswith(".reg"):
            self.declare(statement)
        elif statement.startswith((".shared", ".local")):
            kernel.variables.append(_variable(statement))
        elif statement.startswith(".branchtargets"):
            kernel.jump_tables[label] = list(split_operands(statement.partition(" ")[2]))
        elif not statement.startswith("."):
            match = _STATEMENT.fullmatch(statement)
            assert match is not None, statement
            negated, guard, opcode, operands = match.groups()
            kernel.instructions.append(
                Instruction(
                    opcode,
                    tuple(self.rename(operand) for operand in split_operands(operands)),
                    self.rename(guard) if guard else None,
                    bool(negated),
                    line,
                )
            )


def _tokens(text: str, line: int) -> Iterator[tuple[str, str, int]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unsupported(f"PTX line {line}: cannot read {text[position : position + 60]!r}")
        if match.lastgroup is not None:
            yield match.lastgroup, match.group(match.lastgroup), line
        line += match.group().count("\n")
        position = match.end()


def _closing_brace(text: str, opening: int) -> int:
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, opening):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    raise Unsupported("a kernel without its closing brace")


def parse_module(ptx: str) -> ModuleText:
    """Read one PTX file as NVRTC writes it."""
    text = _COMMENT.sub(_blank, ptx)
    target = re.search(r"\.target\s+(\w+)", text)
    kernels = {}
    outside = text
    for match in re.finditer(r"\.entry\s+([$\w]+)\s*\(([^)]*)\)([^{]*)\{", text):
        end = _closing_brace(text, match.end() - 1)
        kernel = KernelText(match.group(1), _parameters(match.group(2)))
        if bound := re.search(r"\.(?:max|req)ntid\s+([\d,\s]+)", match.group(3)):
            kernel.max_threads = 1
            for extent in bound.group(1).split(","):
                kernel.max_threads *= int(extent)
        _Body(kernel).read(text[match.end() : end], 1 + text.count("\n", 0, match.end()))
        kernels[kernel.name] = kernel
        outside = outside.replace(text[match.start() : end + 1], "")
    declared = re.findall(
        r"^[^\S\n]*((?:\.\w+\s+)*\.(?:const|global|shared)\s[^;]*);", outside, re.M
    )
    return ModuleText(
        target.group(1) if target else "", kernels, [_variable(item) for item in declared]
    )
