"""What pyproject.toml cannot say: the data folders beside the package go into the wheel as `edgecomp/_data/`.

The templates of report.html lie inside the package.
"""

from setuptools import find_packages, setup

DATA = ("targets", "hls")

setup(
    packages=[*find_packages(include=["edgecomp", "edgecomp.*"]), *(f"edgecomp._data.{folder}" for folder in DATA)],
    package_dir={f"edgecomp._data.{folder}": folder for folder in DATA},
    package_data={
        "edgecomp.report": ["page/*"],
        "edgecomp._data.targets": ["*.toml"],
        "edgecomp._data.hls": ["*.h", "*.hpp", "*.c", "*.cpp", "*.v", "*.vhd", "*.ld"],
    },
    include_package_data=False,
    options={"build": {"build_base": "build/.package"}},  # build/ itself is where bundles go
)
