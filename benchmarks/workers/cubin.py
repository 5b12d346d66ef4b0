"""What NVRTC's machine code says of a kernel before it has ever run: its instructions, counted without a GPU.

`compiled` compiles instances of a `.cu` file for sm_90 (needs CuPy and NVRTC, no driver), `kernels` reads the cubin, an
ELF file with one section of code per kernel, and `Kernel.hot_loop` finds the loop in which a kernel spends its time.
An instruction has 16 bytes. Of the first eight, the low 9 bits are the opcode; of the last eight, four bits say after
how many cycles the warp may issue its next instruction. Both are undocumented, were found by comparing with nvdisasm,
and are the same from Volta to Hopper.
"""

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from minires.kernels.load import OPTIONS, Source, read

ARCHITECTURE = "sm_90"
OPTIONS_OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")

FFMA, DFMA, HMMA, MUFU = 0x023, 0x02B, 0x03C, 0x108  # multiply-adds; reciprocals, of which divisions are made
LDG, LDS, LDGSTS, LDL, STL = 0x181, 0x184, 0x1AE, 0x183, 0x187  # cp.async is LDGSTS; spills go through LDL and STL
BRA = 0x147
REGISTERS = 0x2F  # the note in a cubin that says how many a kernel uses
MULTIPLY_ADDS = (FFMA, DFMA, HMMA)
WIDTHS = {0: 8, 1: 8, 2: 16, 3: 16, 4: 32, 5: 64, 6: 128}  # bits that a load brings, by three bits of its instruction


@dataclass(frozen=True)
class Code:
    """A run of instructions: (first eight bytes, last eight bytes) of each."""

    instructions: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.instructions)

    def count(self, *opcodes: int) -> int:
        """How many instructions have one of these opcodes."""
        return sum(low & 0x1FF in opcodes for low, _ in self.instructions)

    def loads(self, opcode: int, bits: int) -> int:
        """How many loads with this opcode, `LDG`, `LDS` or `LDGSTS`, bring so many bits for each thread."""
        return sum(low & 0x1FF == opcode and WIDTHS.get(high >> 9 & 7) == bits for low, high in self.instructions)

    @property
    def stalls(self) -> int:
        """The cycles after which a warp alone on its scheduler has issued all of it, if it never waits for memory."""
        return sum(high >> 41 & 15 for _, high in self.instructions)


@dataclass(frozen=True)
class Kernel(Code):
    """All the code of a kernel."""

    registers: int
    shared: int  # bytes of shared memory, with what CUDA keeps for itself

    def loop(self, *opcodes: int) -> Code:
        """The shortest of the loops with most of these instructions. Raises ValueError if they are in no loop."""
        ends = ((_target(k, *words), k + 1) for k, words in enumerate(self.instructions) if words[0] & 0x1FF == BRA)
        loops = [Code(self.instructions[first:last]) for first, last in ends if 0 <= first < last]
        best = max(loops, key=lambda loop: (loop.count(*opcodes), -len(loop)), default=Code(()))
        if not best.count(*opcodes):
            raise ValueError(f"cubin.Kernel.loop: got {', '.join(map(hex, opcodes))}; the kernel has them in no loop")
        return best

    @property
    def hot_loop(self) -> Code:
        """The loop in which a kernel spends its time: that with most multiply-adds."""
        return self.loop(*MULTIPLY_ADDS)


def _target(k: int, low: int, high: int) -> int:
    """Where the branch k goes: its offset counts four bytes from the next instruction, in bits 16–23 and 34–81."""
    offset = ((high << 64 | low) >> 34 & 2**48 - 1) << 8 | low >> 16 & 0xFF
    return k + 1 + (offset - (offset >> 55 << 56)) // 4


def kernels(cubin: bytes) -> dict[str, Kernel]:
    """The kernels of a cubin by their mangled names. Raises ValueError for what is not one."""
    if cubin[:5] != b"\x7fELF\2":
        raise ValueError(
            f"cubin.kernels: got {len(cubin)} bytes that begin with {cubin[:5]!r}; expected a 64-bit ELF file"
        )
    (table,) = struct.unpack_from("<Q", cubin, 40)
    entry, number, names = struct.unpack_from("<HHH", cubin, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + k * entry) for k in range(number)]
    sections = {}
    for word, _, _, _, offset, size, _, info, *_ in headers:
        start = headers[names][4] + word
        name = cubin[start : cubin.index(0, start)].decode()
        sections[name] = size, info, cubin[offset : offset + size]
    registers, at = {}, 0
    info = sections[".nv.info"][2]
    while at < len(info):  # notes of 4 bytes; those of the form 4 say how many more follow
        form, what, size = struct.unpack_from("<BBH", info, at)
        if (form, what) == (4, REGISTERS):
            symbol, used = struct.unpack_from("<II", info, at + 4)
            registers[symbol] = used
        at += 4 + (size if form == 4 else 0)
    return {
        name.removeprefix(".text."): Kernel(
            instructions=tuple(struct.iter_unpack("<QQ", code)),
            registers=registers[symbol],
            shared=sections.get(name.replace(".text.", ".nv.shared."), (0,))[0],
        )
        for name, (_, symbol, code) in sections.items()
        if name.startswith(".text.")
    }


@functools.cache
def why_not() -> str:
    """Why nothing can be compiled here, in one sentence; empty if it can."""
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:  # its type depends on how CuPy looked for the library
        return f"needs CuPy and NVRTC: python -m pip install -e '.[cuda13]' ({error})"
    return ""


def compiled(source: Source, names: Sequence[str], text: str | None = None) -> dict[str, Kernel]:
    """Instances of a kernel file, or of another ``text`` in its place, as CuPy would compile them."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text or read(source.file), source.file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        nvrtc.compileProgram(program, (f"-arch={ARCHITECTURE}", *OPTIONS, *OPTIONS_OF_CUPY))
        found = kernels(nvrtc.getCUBIN(program))
        return {name: found[nvrtc.getLoweredName(program, name)] for name in names}
    except nvrtc.NVRTCError as error:
        raise RuntimeError(f"{source.file}: {nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)
