"""Rows of the results table that need a GPU: the command of each, and the figure to reach.

Figures are nats an image of static binarised MNIST: the negative log-likelihood of the validation
images, exact of autoregressive networks, and with 5000 samples of auto-encoders. Those published
are of test images. Each run is meant to take at most ten minutes on one GPU of the class of an
H200; what is expected there is an estimate.
"""

from dataclasses import dataclass

__all__ = ["DATA_VARIABLE", "ROWS", "Row"]

DATA_VARIABLE = "DEEPGEN_BINARIZED_MNIST"


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        name: what is trained.
        topic: name of the example without that of its host.
        options: its command line without data, device and what is common to the topic.
        expected: the figure to reach.
        published: that of the literature.
    """

    name: str
    topic: str
    options: str
    expected: float
    published: float

    def __str__(self) -> str:
        return self.name

    def argv(self, data: str) -> list[str]:
        """Its command line."""
        return ["--data", data, *self.options.split(), *COMMON[self.topic].split()]

    def figure(self, result: dict) -> float:
        """The figure among what the example gives back."""
        nats = result["nll"].value if self.topic == "vae" else result["nats"].mean()
        return float(nats)


COMMON = {
    "autoregressive": "--eval-every 2 --quiet",
    "vae": "--eval-every 5 --num-samples 5000 --quiet",
}
IMAGES = "--network gated_convolutional --latent-dim 64 --hidden-dim 256 --batch-size 200"
SCHEDULE = "--num-epochs 100 --num-warmup-epochs 25 --learning-rate 1e-3"

ROWS = (
    Row(
        "MADE 2x8000, 32 masks",
        "autoregressive",
        "--model made --hidden-dim 8000 --num-layers 2 --num-masks 32 --num-epochs 80"
        " --batch-size 100 --learning-rate 3e-4 --num-held-out 2000",
        87.5,
        86.64,
    ),
    Row(
        "PixelCNN 7x32",
        "autoregressive",
        "--model pixel_cnn --num-blocks 7 --hidden-dim 32 --learned-positions --activation silu"
        " --num-epochs 80 --batch-size 200 --learning-rate 3e-3",
        82.3,
        81.30,
    ),
    Row(
        "gated PixelCNN 10x64",
        "autoregressive",
        "--model gated_pixel_cnn --num-blocks 10 --hidden-dim 64 --learned-positions"
        " --num-epochs 36 --batch-size 200 --learning-rate 1e-3 --num-held-out 2000",
        81.5,
        80.10,
    ),
    Row(
        "Row LSTM 7x16",
        "autoregressive",
        "--model row_lstm --num-blocks 7 --hidden-dim 16 --num-epochs 30 --batch-size 500"
        " --learning-rate 4e-3 --num-held-out 2000",
        82.0,
        80.54,
    ),
    Row(
        "Diagonal BiLSTM 7x16",
        "autoregressive",
        "--model diagonal_bilstm --num-blocks 7 --hidden-dim 16 --num-epochs 25 --batch-size 500"
        " --learning-rate 4e-3 --num-held-out 2000",
        82.0,
        79.20,
    ),
    Row(
        "ImageGPT, width 64, 8 blocks",
        "autoregressive",
        "--model image_gpt --num-blocks 8 --hidden-dim 64 --num-epochs 24 --batch-size 100"
        " --learning-rate 2e-3 --num-held-out 1000",
        82.0,
        79.17,
    ),
    Row("gated VAE", "vae", f"--model vae {IMAGES} {SCHEDULE}", 83.5, 82.14),
    Row(
        "gated VAE, planar",
        "vae",
        f"--model planar --num-transforms 16 {IMAGES} {SCHEDULE}",
        83.3,
        81.91,
    ),
    Row(
        "gated VAE, IAF", "vae", f"--model iaf --num-transforms 4 {IMAGES} {SCHEDULE}", 82.3, 80.79
    ),
    Row(
        "gated VAE, orthogonal Sylvester",
        "vae",
        f"--model sylvester --num-transforms 8 --rank 32 {IMAGES} {SCHEDULE}",
        81.8,
        80.22,
    ),
    Row(
        "IWAE, two layers, k = 50",
        "vae",
        "--model two-layer --num-particles 50 --batch-size 200 --num-epochs 160"
        " --learning-rate 1e-3",
        86.8,
        85.32,
    ),
)
