"""What `meson install` leaves is enough for programs of others: by CMake, by pkg-config, and as a subproject of meson."""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ROOT, TENON

BUILD = pathlib.Path(TENON).parents[1]
PROGRAM = ROOT / "examples" / "read_tensors.cc"


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The installed tree, moved to where it was not configured for."""
    if not (BUILD / "build.ninja").exists():
        pytest.skip("the command under test stands in no build folder")
    stage = tmp_path_factory.mktemp("stage")
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", stage, "--tags", "devel,runtime")
    (config,) = stage.rglob("pkgconfig/tenon.pc")
    tree = tmp_path_factory.mktemp("moved") / "tenon"
    shutil.move(next(parent for parent in config.parents if (parent / "include").is_dir()), tree)
    return tree


@pytest.fixture
def store(folder):
    folder.checkpoint("a.pt")
    folder.out("import", "a.pt")
    return folder.path / "a.tenon"


def expect_lists(program, store, prefix):
    (library,) = prefix.rglob("libtenon.so")
    listed = run(program, store, env=os.environ | {"LD_LIBRARY_PATH": str(library.parent)})
    assert "model/embed.weight  float32  " in listed


def test_cmake_finds_it(prefix, store, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(f"""
        cmake_minimum_required(VERSION 3.16)
        project(consumer CXX)
        find_package(tenon 0.1 REQUIRED)
        add_executable(consumer {PROGRAM})
        target_link_libraries(consumer PRIVATE tenon::tenon)
    """)
    run("cmake", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", project / "build")
    expect_lists(project / "build" / "consumer", store, prefix)


@pytest.mark.parametrize("version, is_found", [("", True), ("0.1", True), ("0.1.0", True), ("0.0.9", False), ("0.2", False),
                                               ("0.1.99", False), ("1", False), ("0", True)])
def test_cmake_takes_the_minor_version_that_it_wants(prefix, tmp_path, version, is_found):
    (tmp_path / "CMakeLists.txt").write_text(f"""
        cmake_minimum_required(VERSION 3.16)
        project(consumer C)
        find_package(tenon {version})
        message(STATUS "found: ${{tenon_FOUND}}")
    """)
    said = run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert f"found: {int(is_found)}" in said


def test_pkg_config_finds_it(prefix, store, tmp_path):
    (config,) = prefix.rglob("pkgconfig/tenon.pc")
    flags = run("pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "tenon",
                env=os.environ | {"PKG_CONFIG_PATH": str(config.parent)}).split()
    run("g++", "-std=c++20", PROGRAM, *flags, "-o", tmp_path / "consumer")
    expect_lists(tmp_path / "consumer", store, prefix)


def test_it_is_a_subproject_of_meson(tmp_path):
    (tmp_path / "subprojects").mkdir()
    (tmp_path / "subprojects" / "tenon").symlink_to(ROOT)
    (tmp_path / "meson.build").write_text(f"""
        project('consumer', 'cpp', default_options: ['cpp_std=c++20'])
        tenon = subproject('tenon', default_options: ['programs=false', 'python=disabled', 'tests=disabled'])
        executable('consumer', '{PROGRAM.name}', dependencies: dependency('tenon'))
    """)
    shutil.copy(PROGRAM, tmp_path)
    run("meson", "setup", tmp_path / "build", tmp_path)
    run("ninja", "-C", tmp_path / "build", "consumer.p/read_tensors.cc.o")
