"""Networks by name, and their weights in files (S535 …)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic
from scanlang.errors.words import closest, listed


@dataclass(frozen=True)
class WeightsNotRead(Diagnostic):
    code: ClassVar[str] = "S535"
    path: str
    reason: str
    explanation: ClassVar[str] = """\
Weights are read from files as `torch.save` and safetensors write them. A download that was cut off, a page that says that
there is no such file, or a folder is none.

```
create_model("vim_tiny", weights="vim_tiny.html")    # wrong
```
```
create_model("vim_tiny", weights="vim_tiny.pth")     # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.path}` cannot be read as weights"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class WeightsNeedCode(Diagnostic):
    """`names` are the things of Python that the file asks for."""

    code: ClassVar[str] = "S536"
    path: str
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
A file of `torch.save` can hold any object of Python, and what makes such an object is code that the file picks. Weights are
tensors, so files that need more are not read. Of a file whose source is trusted, keep the tensors alone:

```
create_model("vim_tiny", weights="training.pth")    # wrong, where the file holds objects
```
```
file = torch.load("training.pth", weights_only=False)           # runs what the file says
torch.save({"model": file["model"]}, "weights.pth")
create_model("vim_tiny", weights="weights.pth")                 # right
```"""

    @property
    def title(self) -> str:
        return f"reading `{self.path}` would run code"

    @property
    def label(self) -> str:
        return f"it holds {listed(self.names)}" if self.names else "it holds more than tensors"

    @property
    def help(self) -> str | None:
        return 'where you trust it: `torch.load(…, weights_only=False)`, then `torch.save({"model": file["model"]}, …)`'


@dataclass(frozen=True)
class NotSavedHere(Diagnostic):
    code: ClassVar[str] = "S537"
    path: str
    reason: str
    explanation: ClassVar[str] = """\
`save` writes weights and, with them, the program that the network is made from; `load` makes the network again. Other files
hold weights alone: they go into a network that is named.

```
model = load("vssm1_tiny_0230s.pth")                                          # wrong
```
```
model = create_model("vmamba_tiny_s1l8", weights="vssm1_tiny_0230s.pth")      # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.path}` is not as `save` writes it"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return "published weights: `create_model(name, weights=…)`"


@dataclass(frozen=True)
class NoSuchBackbone(Diagnostic):
    """`known` are the networks of `where`: the library, or a program."""

    code: ClassVar[str] = "S538"
    name: str
    known: tuple[str, ...]
    where: str
    explanation: ClassVar[str] = """\
`list_models()` has the names of the library; `create_model(name, program="mine.scan")` takes a backbone of your own program.

```
create_model("vmamba_tiny_s1l9")    # wrong
```
```
create_model("vmamba_tiny_s1l8")    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.where} has no backbone `{self.name}`"

    @property
    def label(self) -> str:
        near = closest(self.name, self.known)
        return f"did you mean `{near}`?" if near else ""

    @property
    def help(self) -> str | None:
        if not self.known:
            return None
        return f"it has {listed(self.known)}" if len(self.known) <= 6 else "`list_models()` has the names"


@dataclass(frozen=True)
class NotSaved(Diagnostic):
    code: ClassVar[str] = "S539"
    what: str
    reason: str
    explanation: ClassVar[str] = """\
`save` writes a backbone with the programs that it is made from. A scan or block that was given for one of its formals goes
along if it is said where it comes from.

```
model = scanlang.Backbone("mine.scan", core=scanlang.load("snake.scan").scans["snake"])
save(model, "mine.safetensors")                                                  # wrong: a scan without its program
```
```
model = scanlang.Backbone("mine.scan", core=("snake.scan", "snake"))
save(model, "mine.safetensors")                                                  # right
```"""

    @property
    def title(self) -> str:
        return f"{self.what} cannot be saved"

    @property
    def label(self) -> str:
        return self.reason
