"""What the devices of the shipped tables say, for :class:`gapless.testing.line_simulator.LineSimulator`.

Each is a function of the line it hears and of how often it was asked: the n-th reply is known in advance.
"""

from __future__ import annotations


class AlicatModel:
    """A mass flow controller: the pressure counts its frames in hundredths, the flow follows the setpoint."""

    terminator = "\r"

    def __init__(self, unit_id: str = "A") -> None:
        self.unit_id = unit_id
        self.frames = 0
        self.setpoint = 0.0
        self.is_held = False

    def __call__(self, line: str) -> str | None:
        """Return the frame after obeying the line, nothing for another unit's line, ``?`` for one unknown."""
        if not line.startswith(self.unit_id):
            return None
        order = line[len(self.unit_id) :]
        if order.startswith("S"):
            self.setpoint = float(order[1:])
        elif order in ("HC", "C"):
            self.is_held = order == "HC"
        elif order not in ("", "V"):
            return "?"
        return self.frame()

    def frame(self) -> str:
        """Return the next frame."""
        self.frames += 1
        flow = 0.0 if self.is_held else self.setpoint
        numbers = f"+{self.frames / 100:06.2f} +025.00 +{flow:06.2f} +{flow:06.2f} {self.setpoint:06.2f}"
        return f"{self.unit_id} {numbers}     Air{' HLD' if self.is_held else ''}"


class SartoriusModel:
    """A balance: each print weighs 10 mg more, every fourth is not stable."""

    terminator = "\r\n"

    def __init__(self) -> None:
        self.prints = 0
        self.tare = 0

    def __call__(self, line: str) -> str | None:
        """Return a print line of 16 characters for ESC P; tare for ESC T and ESC U, silently."""
        if line in ("\x1bT", "\x1bU"):
            self.tare = self.prints
        if line != "\x1bP":
            return None
        self.prints += 1
        grams = (self.prints - self.tare) / 100
        unit = "g" if self.prints % 4 else " "
        return f"{'-' if grams < 0 else '+'}{abs(grams):9.2f} {unit}  "


class ScpiModel:
    """A multimeter: the n-th reading is n millivolts."""

    terminator = "\n"

    def __init__(self, serial_number: str = "0001") -> None:
        self.serial_number = serial_number
        self.readings = 0
        self.range = 10.0
        self.errors: list[str] = []

    def __call__(self, line: str) -> str | None:
        """Answer the queries in a line, joined by semicolons; nothing where there is none."""
        said = [answer for part in line.split(";") if (answer := self._one(part.strip())) is not None]
        return ";".join(said) or None

    def _one(self, order: str) -> str | None:
        word, _, value = order.partition(" ")
        if word == "*IDN?":
            return f"gapless,SIM-DMM,{self.serial_number},1.0"
        if word == "READ?":
            self.readings += 1
            return f"{self.readings / 1000:+.8E}"
        if word in ("RANG?", "VOLT:RANG?"):
            return f"{self.range:g}"
        if word == "VOLT:RANG":
            self.range = float(value)
        elif word == "SYST:ERR?":
            return self.errors.pop(0) if self.errors else '+0,"No error"'
        elif word == "*OPC?":
            return "1"
        elif word != "*CLS":
            self.errors.append(f'-113,"Undefined header; {word}"')
        return None


__all__ = ["AlicatModel", "SartoriusModel", "ScpiModel"]
