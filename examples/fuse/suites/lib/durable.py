#!/usr/bin/env python3
"""Writes to a directory until something fails, or checks that what was made durable is there.

    durable.py write DIR LOG SEED
    durable.py check DIR LOG SEED

Each step is noted in LOG before it starts and after it is durable. After a crash every finished
step must have happened; the one that was under way may have.
"""

import os
import random
import sys

BLOCK = 4096
BLOCKS = 128
NAMES = 40


def contents(seed, step, size):
    return random.Random(f"{seed} {step}").randbytes(size)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def steps(seed):
    """Without end: what to do, to which name, with what."""
    choose = random.Random(f"steps {seed}")
    step = 0
    while True:
        step += 1
        name = f"f{choose.randrange(NAMES)}"
        what = choose.choices(["put", "append", "drop", "move", "block"], [5, 3, 2, 3, 4])[0]
        size = choose.choice([0, 100, 2048, 5000, 70_000, 300_000])
        yield step, what, name, f"f{choose.randrange(NAMES)}", size, choose.randrange(BLOCKS)


def apply(model, seed, step, what, name, other, size, block):
    """Does a step to the model; returns whether there is anything to do."""
    if what == "put":
        model[name] = contents(seed, step, size)
    elif what == "block":
        blocks = bytearray(model.get("blocks", bytes(BLOCK * BLOCKS)))
        blocks[block * BLOCK:(block + 1) * BLOCK] = contents(seed, step, BLOCK)
        model["blocks"] = bytes(blocks)
    elif name not in model:
        return False
    elif what == "append":
        model[name] += contents(seed, step, size)
    elif what == "drop":
        del model[name]
    elif what == "move" and name != other:
        model[other] = model.pop(name)
    return True


def perform(directory, seed, step, what, name, other, size, block):
    """Does a step to the directory, durably."""
    path = f"{directory}/{name}"
    if what in ("put", "append"):
        how = os.O_TRUNC if what == "put" else os.O_APPEND
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | how, 0o644)
        write_all(fd, contents(seed, step, size))
        os.fsync(fd) if what == "put" else os.fdatasync(fd)
        os.close(fd)
    elif what == "block":
        fd = os.open(f"{directory}/blocks", os.O_CREAT | os.O_WRONLY, 0o644)
        if os.fstat(fd).st_size == 0:
            os.truncate(fd, BLOCK * BLOCKS)
        os.pwrite(fd, contents(seed, step, BLOCK), block * BLOCK)
        os.fdatasync(fd)
        os.close(fd)
    else:
        os.unlink(path) if what == "drop" else os.rename(path, f"{directory}/{other}")
        fd = os.open(directory, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def write(directory, log, seed):
    note = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.mkdir(directory)
    model = {}
    for step in steps(seed):
        if apply(model, seed, *step):
            os.write(note, b"start %d\n" % step[0])
            perform(directory, seed, *step)
            os.write(note, b"done %d\n" % step[0])


def check(directory, log, seed):
    lines = [line.split() for line in open(log)] if os.path.exists(log) else []
    done = max((int(number) for word, number in lines if word == "done"), default=0)
    started = max((int(number) for word, number in lines if word == "start"), default=0)
    model, doubtful = {}, set()
    for step in steps(seed):
        number, what, name, other, _, _ = step
        if number > done:
            if number == started:
                doubtful = {"blocks"} if what == "block" else {name, other}
            if number >= started:
                break
            continue
        apply(model, seed, *step)
    have = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    wrong = [name for name in have | set(model) if name not in doubtful and (
        (name in have) != (name in model)
        or open(f"{directory}/{name}", "rb").read() != model[name])]
    # Reading what may be half done must not fail either.
    for name in doubtful & have:
        open(f"{directory}/{name}", "rb").read()
    if wrong:
        sys.exit(f"after step {done}: {len(wrong)} wrong: {sorted(wrong)[:5]}")
    print(done)


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
