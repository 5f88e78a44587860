"""Harmonize Layer: makes a pasted object match the light and colours of the picture around it."""

from __future__ import annotations

from krita import DockWidgetFactory, DockWidgetFactoryBase, Krita

from .controller import Controller
from .docker import Docker
from .extension import HarmonizeExtension

_krita = Krita.instance()
Docker.controller = Controller()
_krita.addExtension(HarmonizeExtension(_krita, Docker.controller))
_krita.addDockWidgetFactory(DockWidgetFactory("harmonize_docker", DockWidgetFactoryBase.DockPosition.DockRight, Docker))
