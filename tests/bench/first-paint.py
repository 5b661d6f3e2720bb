#!/usr/bin/env python3
"""Starts a program and watches the screen until nothing changes any more: first-paint.py TITLE PROGRAM [ARG...]

Answers JSON: `paint`, milliseconds from the start until something of the page is drawn, and `useful`, until what is drawn is what
stays (98 of 100 pixels that are not ground). No driver takes part: it is what a person sees. Nothing but libX11 is needed.
"""

import array
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter

PAUSE = 0.008  # between two looks, seconds
QUIET = 2.5  # no change for so long: it is finished
PATIENCE = 40.0
STEP = 2  # every second row is kept


class XImage(ctypes.Structure):
    _fields_ = [("width", ctypes.c_int), ("height", ctypes.c_int), ("xoffset", ctypes.c_int), ("format", ctypes.c_int), ("data", ctypes.c_void_p)]


x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
x11.XDefaultRootWindow.restype = ctypes.c_ulong
x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
x11.XGetImage.restype = ctypes.POINTER(XImage)
x11.XGetImage.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_ulong, ctypes.c_int]
x11.XFree.argtypes = [ctypes.c_void_p]
display = x11.XOpenDisplay(None)
root = x11.XDefaultRootWindow(display)
WIDTH, HEIGHT = 1280, 960  # the screen of run-under-xvfb


def look():
    image = x11.XGetImage(display, root, 0, 0, WIDTH, HEIGHT, 0xFFFFFFFF, 2)
    pixels = ctypes.string_at(image.contents.data, WIDTH * HEIGHT * 4)
    x11.XFree(image.contents.data)
    x11.XFree(ctypes.cast(image, ctypes.c_void_p))
    return pixels


def place(title):
    """The window's own area, without what the window manager draws around it."""
    window = subprocess.check_output(["xdotool", "search", "--onlyvisible", "--name", f"^{title}$"], text=True).split()[-1]
    told = subprocess.check_output(["xdotool", "getwindowgeometry", "--shell", window], text=True)
    at = dict(line.split("=") for line in told.split())
    left, top = max(0, int(at["X"])), max(0, int(at["Y"]))
    # The highest rows may lie under what the window manager draws.
    return left, max(top, 40), min(WIDTH, left + int(at["WIDTH"])), min(HEIGHT, top + int(at["HEIGHT"]))


def main():
    title, command = sys.argv[1], sys.argv[2:]
    before = zlib.crc32(look())
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        frames, last, changed = [], before, None
        while True:
            at = time.monotonic() - began
            pixels = look()
            mark = zlib.crc32(pixels)
            if mark != last:
                last, changed = mark, at
                rows = b"".join(pixels[y * WIDTH * 4 : (y + 1) * WIDTH * 4] for y in range(0, HEIGHT, STEP))
                frames.append((at, zlib.compress(rows, 1)))
            if changed is not None and at - changed > QUIET and at > QUIET + 1:
                break
            if at > PATIENCE:
                sys.exit("the screen never came to rest" if changed else "nothing was ever drawn")
            time.sleep(PAUSE)
        left, top, right, bottom = place(title)
        ours = [y * WIDTH + x for y in range((top + 1) // STEP, bottom // STEP) for x in range(left, right)]
        last_frame = array.array("I", zlib.decompress(frames[-1][1]))
        ground = Counter(last_frame[i] for i in ours).most_common(1)[0][0]
        drawn = [i for i in ours if last_frame[i] != ground]
        paint = useful = None
        for at, packed in frames:
            frame = array.array("I", zlib.decompress(packed))
            same = sum(1 for i in drawn if frame[i] == last_frame[i]) / len(drawn)
            if paint is None and same > 0.3:
                paint = at
            if useful is None and same >= 0.98:
                useful = at
            elif useful is not None and same < 0.98:
                useful = None
        print(json.dumps({"paint": paint * 1000, "useful": useful * 1000, "frames": len(frames), "drawn": len(drawn)}))
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


main()
