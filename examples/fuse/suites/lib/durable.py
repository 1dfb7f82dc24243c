#!/usr/bin/env python3
"""Writes to a directory until something fails, or checks that what was made durable is there.

    durable.py write DIR LOG SEED
    durable.py check DIR LOG SEED

Each step is noted in LOG before it starts and after it is durable. After a crash every step that
was durable must have happened, and of those that were begun after it the first few may have. Where
there is a copy of LOG from before the crash, LOG.before, it says what was durable.
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


def noted(log, word):
    """The last step of which a log says so; what is cut off at its end does not count."""
    if not os.path.exists(log):
        return 0
    lines = open(log).read().split("\n")[:-1]
    return max((int(line.split()[1]) for line in lines if line.startswith(word)), default=0)


def read(directory, name):
    """The contents of a file, None where there is none."""
    try:
        return open(f"{directory}/{name}", "rb").read()
    except FileNotFoundError:
        return None


def half_done(directory, model, seed, step, what, name, other, size, block):
    """Whether the names of a step are as they may be while it is at work."""
    is_new, is_other = read(directory, name), read(directory, other)
    was, was_other = model.get(name), model.get(other)
    if what == "move" and name != other and was is not None:
        return (is_new, is_other) in [(was, was_other), (None, was)]
    if what == "drop":
        return is_new in [was, None]
    if what == "put":
        return is_new == was or (
            is_new is not None and contents(seed, step, size).startswith(is_new))
    if what == "append" and was is not None:
        whole = was + contents(seed, step, size)
        return is_new is not None and is_new.startswith(was) and whole.startswith(is_new)
    if what == "block":
        is_new, was = read(directory, "blocks"), model.get("blocks")
        after = dict(model)
        apply(after, seed, step, what, name, other, size, block)
        begun = [None, b"", bytes(BLOCK * BLOCKS)] if was is None else []
        return is_new in [was, after["blocks"], *begun]
    return is_new == was


def same(directory, model, doubtful=()):
    have = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    return all(read(directory, name) == model.get(name)
               for name in (have | set(model)) - set(doubtful))


def check(directory, log, seed):
    """What is there is what some step left: the last durable one, or a later one."""
    before = f"{log}.before"
    done = noted(before if os.path.exists(before) else log, "done")
    started = noted(log, "start")
    model, good = {}, False
    for step in steps(seed):
        number, what, name, other, _, _ = step
        if number > done:
            if number <= started:
                doubtful = {"blocks"} if what == "block" else {name, other}
                good = (same(directory, model, doubtful)
                        and half_done(directory, model, seed, *step))
            else:
                good = same(directory, model)
            if good or number > started:
                break
        apply(model, seed, *step)
    if not good:
        sys.exit(f"after step {done}, before step {started}: something is wrong")
    print(done)


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
