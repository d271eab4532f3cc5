"""Reconstruct the images behind observed answers, with a decoder of answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attacks.common.decoder import DecoderOptions, fit_decoder
from attacks.common.latent import mean_images
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, require


@dataclass(frozen=True)
class InverseDecoder(DecoderOptions, Attack):
    """Decode every victim's answer with a network trained on the attacker's own images.

    Yang, Zhang, Chang and Liang (CCS 2019): the deployment is asked about public images, and a
    decoder is trained from the truncated, rounded or label-only answers it really gives back to
    the images (truncation-aligned). One natural-looking query a public image; the victims are
    never queried.

    The paper trains on about 10^5 images with lr 2e-4, 100 epochs and c = 50
    (``lr=2e-4, shift=50, align=false``). The defaults suit some hundred images: a larger step,
    early stopping on held-out public people, a shift that follows the scores answered, and
    aligned answers.

    Options: see :class:`attacks.common.decoder.DecoderOptions`.
    """

    goal = "output_reconstruction"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K2", "K6"})
    paper = "Yang, Zhang, Chang, Liang, CCS 2019, sections 3.2 and 4 (arXiv 1902.08552)"

    def doubled(self) -> InverseDecoder:
        """The same attack with twice the epochs and the patience."""
        return replace(self, epochs=2 * self.epochs, patience=2 * self.patience)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per victim ``[n, *shape]`` in [0, 1].

        ``info``: ``stop_reason`` (``trained``, or ``budget`` where it allows no training and the
        public mean is returned) and what :class:`attacks.common.decoder.Decoder` says.
        """
        observed = knowledge.observed
        require(observed is not None, "InverseDecoder needs the answers to the victims' images.")
        assert observed is not None
        decoder = fit_decoder(self, exposure, knowledge, seed, device)
        if decoder is None:
            values = mean_images(knowledge, len(observed), device)
            return Reconstruction(values, {"stop_reason": "budget"})
        return Reconstruction(
            decoder(observed.to(device)), {"stop_reason": "trained", **decoder.info}
        )
