"""The architectures that people bring, with random weights: their own may not be shipped.

Depth, operators and interfaces are those of the originals; `width` scales the number of channels,
so that a test need not take minutes.

- IResNet-50 and -100: InsightFace's ``w600k_r50`` and ``glint360k`` (Deng et al., "ArcFace", 2019).
- the same with two outputs, on BGR: AdaFace (Kim et al., 2022).
- InceptionResnetV1: facenet-pytorch's FaceNet.
- MobileFaceNet with its preprocessing inside and room for one image: OpenCV Zoo's SFace.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


class IResNetBlock(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(into, eps=1e-5),
            nn.Conv2d(into, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out, eps=1e-5),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out, eps=1e-5),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out, eps=1e-5)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class IResNet(nn.Module):
    def __init__(self, depths: Sequence[int], width: float = 1.0, with_norm: bool = False) -> None:
        super().__init__()
        channels = [int(width * c) for c in (64, 64, 128, 256, 512)]
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels[0], eps=1e-5),
            nn.PReLU(channels[0]),
        ]
        for into, out, depth in zip(channels, channels[1:], depths, strict=False):
            layers.append(IResNetBlock(into, out, 2))
            layers += [IResNetBlock(out, out, 1) for _ in range(depth - 1)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(channels[-1], eps=1e-5), nn.Dropout(0.4))
        self.fc = nn.Linear(channels[-1] * 49, 512)
        self.features = nn.BatchNorm1d(512, eps=1e-5)
        self.with_norm = with_norm

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.features(self.fc(torch.flatten(self.body(x), 1)))
        if not self.with_norm:
            return x
        norm = torch.norm(x, 2, 1, True)  # AdaFace's
        return torch.div(x, norm), norm


def conv(into: int, out: int, kernel: int | tuple[int, int], stride: int = 1,
         padding: int | tuple[int, int] = 0) -> nn.Sequential:  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(into, out, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(out, eps=0.001),
        nn.ReLU(),
    )


class Inception(nn.Module):
    """Branches side by side, joined, projected and added to what they came from."""

    def __init__(self, channels: int, branches: Sequence[nn.Module], mixed: int, scale: float,
                 relu: bool = True) -> None:  # fmt: skip
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.project = nn.Conv2d(mixed, channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], 1)
        x = self.project(joined) * self.scale + x
        return functional.relu(x) if self.relu else x


class Reduction(nn.Module):
    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class InceptionResnetV1(nn.Module):
    def __init__(self, width: float = 1.0) -> None:
        super().__init__()

        def w(n: int) -> int:
            return int(width * n)

        def block35() -> nn.Module:
            b = [
                conv(w(256), w(32), 1),
                nn.Sequential(conv(w(256), w(32), 1), conv(w(32), w(32), 3, 1, 1)),
                nn.Sequential(conv(w(256), w(32), 1), conv(w(32), w(32), 3, 1, 1),
                              conv(w(32), w(32), 3, 1, 1)),
            ]  # fmt: skip
            return Inception(w(256), b, 3 * w(32), 0.17)

        def block17() -> nn.Module:
            b = [
                conv(w(896), w(128), 1),
                nn.Sequential(conv(w(896), w(128), 1), conv(w(128), w(128), (1, 7), 1, (0, 3)),
                              conv(w(128), w(128), (7, 1), 1, (3, 0))),
            ]  # fmt: skip
            return Inception(w(896), b, 2 * w(128), 0.10)

        def block8(scale: float, relu: bool = True) -> nn.Module:
            b = [
                conv(w(1792), w(192), 1),
                nn.Sequential(conv(w(1792), w(192), 1), conv(w(192), w(192), (1, 3), 1, (0, 1)),
                              conv(w(192), w(192), (3, 1), 1, (1, 0))),
            ]  # fmt: skip
            return Inception(w(1792), b, 2 * w(192), scale, relu)

        mixed6a = Reduction([
            conv(w(256), w(384), 3, 2),
            nn.Sequential(conv(w(256), w(192), 1), conv(w(192), w(192), 3, 1, 1),
                          conv(w(192), w(256), 3, 2)),
            nn.MaxPool2d(3, 2),
        ])  # fmt: skip
        mixed7a = Reduction([
            nn.Sequential(conv(w(896), w(256), 1), conv(w(256), w(384), 3, 2)),
            nn.Sequential(conv(w(896), w(256), 1), conv(w(256), w(256), 3, 2)),
            nn.Sequential(conv(w(896), w(256), 1), conv(w(256), w(256), 3, 1, 1),
                          conv(w(256), w(256), 3, 2)),
            nn.MaxPool2d(3, 2),
        ])  # fmt: skip
        self.body = nn.Sequential(
            conv(3, w(32), 3, 2), conv(w(32), w(32), 3), conv(w(32), w(64), 3, 1, 1),
            nn.MaxPool2d(3, 2), conv(w(64), w(80), 1), conv(w(80), w(192), 3),
            conv(w(192), w(256), 3, 2), *(block35() for _ in range(5)), mixed6a,
            *(block17() for _ in range(10)), mixed7a, *(block8(0.20) for _ in range(5)),
            block8(1.0, relu=False), nn.AdaptiveAvgPool2d(1), nn.Dropout(0.6), nn.Flatten(),
            nn.Linear(w(1792), 512, bias=False), nn.BatchNorm1d(512, eps=0.001),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.body(x), p=2, dim=1)


class Bottleneck(nn.Module):
    def __init__(self, into: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = into * expansion
        self.added = stride == 1 and into == out
        self.body = nn.Sequential(
            nn.Conv2d(into, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.PReLU(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner), nn.PReLU(inner),
            nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.added else self.body(x)


class MobileFaceNet(nn.Module):
    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c = [int(width * n) for n in (64, 128, 512)]
        layers: list[nn.Module] = [
            nn.Conv2d(3, c[0], 3, 2, 1, bias=False), nn.BatchNorm2d(c[0]), nn.PReLU(c[0]),
            nn.Conv2d(c[0], c[0], 3, 1, 1, groups=c[0], bias=False), nn.BatchNorm2d(c[0]),
            nn.PReLU(c[0]),
        ]  # fmt: skip
        into = c[0]
        for expansion, out, depth, stride in (
            (2, c[0], 5, 2), (4, c[1], 1, 2), (2, c[1], 6, 1), (4, c[1], 1, 2), (2, c[1], 2, 1)
        ):  # fmt: skip
            for i in range(depth):
                layers.append(Bottleneck(into, out, stride if i == 0 else 1, expansion))
                into = out
        layers += [
            nn.Conv2d(into, c[2], 1, bias=False), nn.BatchNorm2d(c[2]), nn.PReLU(c[2]),
            nn.Conv2d(c[2], c[2], 7, groups=c[2], bias=False), nn.BatchNorm2d(c[2]),
            nn.Conv2d(c[2], 128, 1, bias=False), nn.BatchNorm2d(128), nn.Flatten(),
        ]  # fmt: skip
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - 127.5) * 0.0078125)


def settle(module: nn.Module, images: Tensor) -> nn.Module:
    """Give batch normalisation the statistics of some images, as training would."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.6, 1.2)
            nn.init.normal_(layer.bias, std=0.1)
    with torch.no_grad():
        module.train()(images)
    return module.eval()


def write_onnx(module: nn.Module, path: Path, size: int, *, names: Sequence[str] = ("embedding",),
               batch: str | None = "batch") -> None:  # fmt: skip
    """Export as their authors do, every layer as it stands."""
    axes = {name: {0: batch} for name in ("input", *names)} if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter says that there is a newer one
        torch.onnx.export(
            module, (torch.zeros(1, 3, size, size),), str(path), input_names=["input"],
            output_names=list(names), dynamic_axes=axes, opset_version=13, dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        )  # fmt: skip
