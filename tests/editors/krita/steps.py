"""What the tests do inside of Krita; the driver plugin calls these functions. A `yield` is a pause in milliseconds."""

import sys
import tempfile
import time

from krita import Document, InfoObject, Krita, Node, Selection
from PyQt5.QtCore import QByteArray
from PyQt5.QtWidgets import QApplication, QDockWidget, QMenu, QMessageBox, QSpinBox

app = Krita.instance()


def controller():
    return sys.modules["harmonize_layer"].Docker.controller


def document():
    return app.activeDocument()


def node(name, parent=None):
    """The node of that name, wherever it is."""
    for child in (parent or document().rootNode()).childNodes():
        found = child if child.name() == name else node(name, child)
        if found:
            return found
    return None


def create(width, height, model, depth, profile, layers):
    """A document with layers from bottom to top: (name, [x, y, width, height], pixels). The last is active."""
    new = app.createDocument(width, height, "picture", model, depth, profile, 72.0)
    app.activeWindow().addView(new)
    yield 100
    bottom = new.topLevelNodes()[0]
    for name, rect, pixels in layers:
        layer = new.createNode(name, "paintlayer")
        layer.setPixelData(QByteArray(pixels), *rect)
        new.rootNode().addChildNode(layer, None)
    bottom.remove()
    yield from activate(layers[-1][0])
    new.setModified(False)
    return new.colorProfile()


def open_file(path):
    new = app.openDocument(path)
    app.activeWindow().addView(new)
    yield 300


def activate(name):
    yield 50  # Krita is not ready for it straight after a layer was added
    document().setActiveNode(node(name))
    document().waitForDone()
    yield 50


def close_all():
    controller().cancel()
    while controller().running:
        yield 20
    for each in app.documents():
        each.setBatchmode(True)
        each.setModified(False)
        each.close()
    _boxes()
    yield 50


def select(rect, values):
    selection = Selection()
    selection.setPixelData(QByteArray(values), *rect)
    document().setSelection(selection)
    yield 50


def start():
    """Click, and come back at once."""
    app.action("harmonize_layer").trigger()


def harmonize(strength=100, feather=0):
    """Click, and wait for the end. Returns the docker's line and the texts of the windows that opened."""
    controller().set_strength(strength)
    controller().set_feather(feather)
    start()
    return (yield from finish())


def finish():
    while controller().running:
        yield 20
    yield 150
    return controller().line, _boxes()


def trigger(action):
    app.action(action).trigger()
    yield 200
    document().waitForDone()


def ticks(seconds):
    """How often a timer of 10 ms fires."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        yield 10
        count += 1
    return count


def move(name, x, y):
    position = node(name).position()
    node(name).move(position.x() + x, position.y() + y)
    document().refreshProjection()
    document().waitForDone()
    yield 50


def crop(rect):
    document().crop(*rect)
    document().waitForDone()
    yield 50


def log():
    return str(controller().log())


def unmodified():
    document().setModified(False)


def boxes():
    return _boxes()


def running():
    return controller().running, controller().line, controller().fraction


def until(fragment):
    """Wait for the docker's line."""
    deadline = time.monotonic() + 40
    while fragment not in controller().line:
        if time.monotonic() > deadline:
            raise AssertionError(controller().line)
        yield 5


def seen(rect):
    """What the document shows."""
    document().waitForDone()
    return bytes(document().pixelData(*rect))


def pixels(name, rect, projection=False):
    layer = node(name)
    return bytes((layer.projectionPixelData if projection else layer.pixelData)(*rect))


def box(name):
    bounds = node(name).bounds()
    return bounds.x(), bounds.y(), bounds.width(), bounds.height()


def opacity(name):
    return node(name).opacity()


def tree(parent=None):
    """Names of all nodes, bottom to top, those in a group after it in a list."""
    names = []
    for child in (parent or document().rootNode()).childNodes():
        names.append(child.name())
        if child.childNodes():
            names.append(tree(child))
    return names


def state():
    """What a harmonization must leave alone."""
    now, selection = document(), document().selection()
    selected = selection and bytes(selection.pixelData(0, 0, now.width(), now.height()))
    tool = next(action.objectName() for action in app.actions() if action.isChecked() and "Tool" in action.objectName())
    zoom = app.activeWindow().activeView().canvas().zoomLevel()
    return now.activeNode().name(), selected, tool, zoom, [each.fileName() for each in app.documents()]


def modified():
    return document().modified()


def save_and_reopen(path):
    now = document()
    now.setBatchmode(True)
    assert now.saveAs(path)
    now.waitForDone()
    yield from close_all()
    yield from open_file(path)


def change(name, **values):
    """Call setters: change("Layer", Opacity=128)."""
    for key, value in values.items():
        getattr(node(name), f"set{key}")(value)
    document().refreshProjection()
    document().waitForDone()
    yield 50


def paint(name, rect, pixels):
    node(name).setPixelData(QByteArray(pixels), *rect)
    document().refreshProjection()
    document().waitForDone()


def remove(name):
    node(name).remove()
    yield 50


def add(kind, name, above=None, parent=None):
    """A new node, on top of the others or above one of them."""
    now = document()
    group = node(parent) if parent else now.rootNode()
    makers = {
        "group": lambda: now.createGroupLayer(name),
        "vector": lambda: now.createVectorLayer(name),
        "paint": lambda: now.createNode(name, "paintlayer"),
        "mask": lambda: now.createNode(name, "transparencymask"),
    }
    new = makers[kind]()
    group.addChildNode(new, node(above) if above else None)
    now.waitForDone()
    yield 50


def add_mask(layer, rect, values):
    """A transparency mask that shows as much of a layer as `values`, named "mask"."""
    yield from activate(layer)
    yield from select(rect, values)
    yield from trigger("add_new_transparency_mask")
    next(child for child in node(layer).childNodes() if child.type() == "transparencymask").setName("mask")
    document().setSelection(None)
    yield 100


def animate(name, frame, rect, pixels):
    """A second frame, other than the first, as the current one."""
    layer = node(name)
    layer.enableAnimation()
    yield 100
    document().setCurrentTime(frame)
    yield 200
    app.action("add_blank_frame").trigger()
    yield 300
    paint(name, rect, pixels)
    yield 100


def group(name, members):
    """Put layers into a new group on top."""
    yield from add("group", name)
    for member in members:
        moved = node(member)
        copy = moved.duplicate()
        moved.remove()
        copy.setName(member)
        node(name).addChildNode(copy, None)
    document().waitForDone()
    yield 100


def clone_layer(name, source):
    new = document().createCloneLayer(name, node(source))
    document().rootNode().addChildNode(new, None)
    document().waitForDone()
    yield 100


def vector(name, svg):
    yield from add("vector", name)
    node(name).addShapesFromSvg(svg)
    document().refreshProjection()
    document().waitForDone()
    yield 200


def file_layer(name, path):
    now = document()
    new = now.createFileLayer(name, path, "None")  # which needs the document's Python object for as long as it lives
    yield 500
    now.rootNode().addChildNode(new, None)
    yield 500
    now.refreshProjection()
    now.waitForDone()


def fill_layer(name, rect, values):
    """A pattern-free fill of one colour where `values` select."""
    configuration = InfoObject()
    configuration.setProperties({"color": "#c04020"})
    selection = Selection()
    selection.setPixelData(QByteArray(values), *rect)
    new = document().createFillLayer(name, "color", configuration, selection)
    document().rootNode().addChildNode(new, None)
    document().refreshProjection()
    document().waitForDone()
    yield 300


def switch(index):
    """Make another document the active one."""
    app.activeWindow().activeView().setDocument(app.documents()[index])
    yield 100


def close_document():
    document().setBatchmode(True)
    document().setModified(False)
    document().close()
    yield 100


def convert(model, depth, profile):
    document().setColorSpace(model, depth, profile)
    document().waitForDone()
    yield 100


def convert_layer(name, model, depth):
    assert node(name).setColorSpace(model, depth, app.profiles(model, depth)[0])
    document().waitForDone()
    yield 100


def forget_profiles():
    sys.modules["harmonize_layer.profiles"]._found.clear()


def set_in_second_window(strength, feather):
    """[strength, feather] that each window's docker shows once they were set in the second one's."""
    before = controller().strength, controller().feather
    window = app.openWindow()
    yield 500
    dockers = [each.qwindow().findChild(QDockWidget, "harmonize_docker") for each in app.windows()]
    spins = [docker.findChildren(QSpinBox) for docker in dockers]
    for spin, value in zip(spins[-1], (strength, feather), strict=True):
        spin.setValue(value)
    shown = [[spin.value() for spin in each] for each in spins]
    for spin, value in zip(spins[-1], before, strict=True):
        spin.setValue(value)
    window.qwindow().close()
    yield 200
    return shown


def limit_bytes(most):
    """As if Krita handed out fewer bytes at once; what it was before."""
    picture = sys.modules["harmonize_layer.picture"]
    before, picture._MOST_BYTES = picture._MOST_BYTES, most
    return before


def break_plugin(broken):
    """Let it fail where nobody expects it."""
    picture = sys.modules["harmonize_layer.picture"]
    if broken:
        picture.usual, picture.active_layer = picture.active_layer, _fail
    else:
        picture.active_layer = picture.usual


def _fail(_):
    raise ZeroDivisionError


def temporary_files_in(folder):
    """Where Python makes temporary files; None: where it usually does."""
    tempfile.tempdir = folder


def measure():
    """Harmonize, and tell where the milliseconds go.

    Returns:
        "total" from the click until the layer is there, the daemon's "timings" by stage, what Krita's own calls took
        until then ("krita"), and "stall", the longest time without the event loop until then, those calls not counted.
        Also the processor time of Krita's main thread outside of those calls: "work" in all, "piece" the most without
        the event loop. Then "draw", the longest time without the event loop once the layer is there: what Krita takes
        to show it, and the plugin to look at it as it is.
    """
    calls = {
        Document: ["pixelData", "waitForDone", "clone", "createNode", "exportImage", "close", "setActiveNode"],
        Node: ["pixelData", "projectionPixelData", "setPixelData", "addChildNode", "bounds", "remove"],
        Krita: ["createDocument"],
    }
    originals = {(kind, name): vars(kind)[name] for kind, names in calls.items() for name in names}
    clocks = (time.perf_counter, time.thread_time)
    inside, outcomes, found = [0.0, 0.0], [], {}

    def timed(original):
        def call(*arguments):
            begin = [clock() for clock in clocks]
            try:
                return original(*arguments)
            finally:
                for index, clock in enumerate(clocks):
                    inside[index] += clock() - begin[index]

        return call

    def outside():
        return [clock() - spent for clock, spent in zip(clocks, inside, strict=True)]

    def look():
        nonlocal before, longest
        now = outside()
        longest = [max(one, new - old) for one, new, old in zip(longest, now, before, strict=True)]
        before = now

    def changed():
        nonlocal longest
        if not found and not controller().running:
            look()
            found.update(total=time.perf_counter() - begin, krita=inside[0], work=before[1] - first[1])
            found.update(stall=longest[0], piece=longest[1])
            longest = [0.0, 0.0]

    for kind, name in originals:
        setattr(kind, name, timed(getattr(kind, name)))
    begin, first = time.perf_counter(), outside()
    before, longest = first, [0.0, 0.0]
    controller().changed.connect(changed)  # the moment itself: Krita shows the layer before it answers again
    try:
        start()
        controller()._run.ended.connect(outcomes.append)
        while not found or time.perf_counter() < begin + found["total"] + 0.2:
            look()
            yield 5
        look()
    finally:
        controller().changed.disconnect(changed)
        for (kind, name), original in originals.items():
            setattr(kind, name, original)
    found["draw"] = longest[0]
    return {"timings": dict(outcomes[0].timings), **{name: 1000 * value for name, value in found.items()}}


def arrange(width, height):
    """A window of that size with two dockers, the picture in the middle."""
    window = app.activeWindow().qwindow()
    window.showNormal()
    window.setGeometry(0, 0, width, height)
    for docker in app.dockers():
        docker.setVisible(docker.objectName() in ("harmonize_docker", "KisLayerBox"))
    yield 500
    app.activeWindow().activeView().canvas().setZoomLevel(1.0)
    yield 1000


def open_menu():
    """Tools > Scripts, with the plugin's entry under the mouse."""
    bar = app.activeWindow().qwindow().menuBar()
    tools = next(action for action in bar.actions() if action.text().replace("&", "") == "Tools")
    bar.setActiveAction(tools)
    yield 300
    scripts = next(action for action in tools.menu().actions() if action.text().replace("&", "") == "Scripts")
    tools.menu().setActiveAction(scripts)
    scripts.menu().popup(tools.menu().mapToGlobal(tools.menu().actionGeometry(scripts).topRight()))
    entry = next(action for action in scripts.menu().actions() if action.text() == "Harmonize Layer")
    scripts.menu().setActiveAction(entry)
    yield 500


def close_menu():
    for widget in QApplication.topLevelWidgets():
        if isinstance(widget, QMenu):
            widget.close()
    yield 300


def screen(path):
    QApplication.primaryScreen().grabWindow(0).save(path)


def pause(milliseconds):
    yield milliseconds


def _boxes():
    """Texts of the open message windows, which are closed."""
    boxes = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]
    texts = [each.text() for each in boxes]
    for each in boxes:
        each.close()
    return texts
