"""Every sentence that a plugin shows, in one table, and what is made of it.

A translation is another table with the same keys and the same {names}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import Accepted, LinkError, Progress, Result

TEXTS = {
    # Menus, windows
    "harmonize": "Harmonize Layer",
    "harmonize.tip": "Make the selected object, or the pasted layer, match the light and colours of the picture",
    "cancel": "Cancel Harmonize",
    "cancel.tip": "Stop the harmonization that is running",
    "docker": "Harmonize",
    "menu": "_Harmonize Layer...",
    "menu.group": "Harmonize",
    "help": (
        "Select the object on its layer, or activate the layer with the pasted object. The result is a new layer above "
        "it, whose opacity is the strength; the layer itself and everything else stay as they are."
    ),
    "button": "Harmonize",
    "button.cancel": "Cancel",
    "strength": "Strength",
    "strength.label": "Stren_gth (%)",
    "strength.tip": "The new layer's opacity",
    "feather": "Feather",
    "feather.label": "_Feather (px)",
    "feather.tip": "Document pixels by which the object's edge is softened",
    "model.label": "_Network",
    "model.tip": "The network that harmonizes",
    "model.auto": "Automatic",
    "model.auto.tip": "The best one that is quick on this machine",
    "pixels": " px",
    "percent": " %",
    "log": "Open the log",
    "log.missing": "There is no log yet: it comes with the first harmonization.",
    "engine": "{model} on {device}",
    "engine.label": "Engine",
    "engine.none": "not started yet",
    "menu.image_convert": "Image > Convert Image Color Space",
    "menu.layer_convert": "Layer > Convert > Convert Layer Color Space",
    # Layers
    "layer": "{layer} (harmonized)",
    # Progress; the daemon's stages
    "stage.reading": "Reading the picture",
    "stage.starting": "Starting the backend",
    "stage.sending": "Sending the picture",
    "stage.queued": "Waiting for another job",
    "stage.copy": "Taking the picture in",
    "stage.foreground": "Finding the object",
    "stage.load": "Loading the network",
    "stage.check": "Checking the picture",
    "stage.reduce": "Scaling down",
    "stage.network": "Harmonizing",
    "stage.fit": "Fitting the change",
    "stage.apply": "Applying it in full size",
    "stage.result": "Receiving the result",
    # Outcomes
    "done": "Harmonized in {seconds:.1f} s: {model} on {device}.",
    # The user's picture
    "no_document": "No picture is open. Open one, select the object, and harmonize again.",
    "no_layer": "No layer is active. Activate the layer with the object, and harmonize again.",
    "no_object": (
        "It is not clear what to harmonize: nothing is selected, and the active layer has no transparent parts. "
        "Select the object, or activate the layer with the pasted object, and harmonize again."
    ),
    "no_background": (
        "There is nothing to match: no other visible layer lies below the active one. Put the object on a layer above "
        "the picture, or flatten the image and select the object, and harmonize again."
    ),
    "isolated": (
        "A layer is isolated, so that the picture which the object should match cannot be seen. Turn off "
        "Layer > {menu}, and harmonize again."
    ),
    "too_large": (
        "The picture is too large: this much of it, in its depth, is more than Krita hands to a plugin at once. Select "
        "a smaller object, or scale the picture down."
    ),
    "layer_empty": (
        "The active layer shows nothing within the picture. Activate the layer with the object, and harmonize again."
    ),
    "selection_empty": (
        "Nothing of the active layer is selected. Select the object on it, or activate the layer that the selected "
        "object is on, and harmonize again."
    ),
    "layer_hidden": "The active layer is hidden. Show it, so that it can be seen what it should match.",
    "layer_locked": "The layer {layer} is locked. Unlock its pixels, and harmonize again.",
    "several_layers": "Several layers are active. Activate only the one with the object, and harmonize again.",
    "mask": "A layer mask is active. Activate its layer instead, and harmonize again.",
    "channel": "A channel is active. Activate the layer with the object instead, and harmonize again.",
    "floating": (
        "There is a floating selection. Anchor it, or put it on a new layer (see the Layer menu), and harmonize again."
    ),
    "group_locked": "The group {group} is locked, so no layer can be added to it. Unlock it, and harmonize again.",
    "colour_model": (
        "The picture is in {model}; only RGB and greyscale can be harmonized. Convert it with {menu}, and harmonize "
        "again."
    ),
    "layer_model": (
        "The active layer is in {model}; only RGB and greyscale can be harmonized. Convert it with {menu}, and "
        "harmonize again."
    ),
    "running": "A harmonization is running already. Wait for it, or cancel it.",
    "not_running": "No harmonization is running.",
    "document_gone": "The picture was closed meanwhile, so the result was dropped.",
    "layer_gone": "The layer was removed meanwhile, so the result was dropped. Nothing was changed.",
    "document_changed": "The picture was changed meanwhile, so the result was dropped. Harmonize again.",
    "profile_srgb": "The colour profile {profile} was not found, so the picture was treated as sRGB.",
    "profile_linear": "The colour profile {profile} was not found, so the picture was treated as linear.",
    "unexpected": "The plugin failed unexpectedly ({error}); the picture is as it was. Please report it.",
    # What the daemon, or the way to it, tells: what happened, why, what to do
    "error": "The harmonization failed: {message}.",
    "error.protocol": "The plugin and the backend are of different versions: {message}. Please {hint}.",
    "error.bad_message": (
        "The plugin and the backend do not understand each other: {message}. Install both again, from one version."
    ),
    "error.too_large": "The picture is too large: {message}. Select a smaller object, or scale the picture down.",
    "error.bad_image": "This picture cannot be harmonized: {message}.",
    "error.no_foreground": (
        "There is no object to harmonize: what is selected is transparent. Select the object, or activate the layer "
        "with the pasted object, and harmonize again."
    ),
    "error.no_background": (
        "There is nothing to match: the object is all that can be seen. Select the object alone, or put it on a layer "
        "above the picture, and harmonize again."
    ),
    "error.unknown_model": "The backend has no such network: {message}. Please {hint}.",
    "error.unknown_job": "The backend does not know this harmonization any more: it has ended.",
    "error.busy": "The backend is busy: {message}. Try again in a while.",
    "error.cancelled": "Cancelled. Nothing was changed.",
    "error.out_of_memory": (
        "There is not enough memory: {message}. Close other programs, or select a smaller object, and harmonize again."
    ),
    "error.worker_died": (
        "The process that computes has ended unexpectedly, perhaps for want of memory. Harmonize again; it starts anew."
    ),
    "error.stopping": "The backend was just stopping. Harmonize again; it starts anew.",
    "error.internal": "The backend failed: {message}. Harmonize again; if it stays so, the log tells more.",
    "error.not_installed": (
        "The backend is not installed: {message}. In the folder of Harmonize, run python3 -m installer install."
    ),
    "error.not_running": "The backend is not running: {message}. Harmonize again; it starts anew.",
    "error.not_started": "The backend cannot be started: {message}. Run the installer of Harmonize again.",
    "error.refused": "The backend does not accept this plugin: {message}. Stop it (harmonize stop), and try again.",
    "error.lost": "The backend has ended during the work: {message}. Harmonize again; it starts anew.",
    "error.timeout": "The backend does not answer: {message}. Stop it (harmonize stop), and try again.",
    "error.directory": "The backend's folder cannot be used: {message}. Please {hint}.",
    "error.log": "The log: {log}",
}


_HINTED = ("error", "error.bad_image")  # they leave it to the daemon's hint what to do


class Refusal(Exception):
    """What the user asks for cannot be done; the text says why, and what to do. Nothing was changed."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(text(key, **values))


def text(key: str, **values: object) -> str:
    """The sentence of that key, with its {names} filled in."""
    return TEXTS[key].format(**values)


def explain(error: LinkError) -> str:
    """What happened, why, and what to do next, in sentences for the user; with the log's path where there is one."""
    key, hint = f"error.{error.code}", error.hint
    if key not in TEXTS:  # a backend of a newer version may have codes of its own
        key, hint = "error", hint or "harmonize again"
    sentence = text(key, message=error.message.rstrip("."), hint=hint)
    if key in _HINTED and hint:
        sentence = f"{sentence} {hint[0].upper()}{hint[1:]}."
    return f"{sentence}\n{text('error.log', log=error.log)}" if error.log else sentence


def progress(report: Accepted | Progress) -> str:
    """What is being done."""
    stage = getattr(report, "stage", "queued" if getattr(report, "ahead", 0) else "copy")
    return TEXTS.get(f"stage.{stage}", stage.capitalize())


def summary(result: Result, seconds: float) -> str:
    """One line on a result: how long it took the user, what made it, and what he should know."""
    line = text("done", seconds=seconds, model=result.model, device=result.device)
    return " ".join([line, *result.notes])


def layer_name(layer: str) -> str:
    """What the result of a layer is called."""
    return text("layer", layer=layer)
