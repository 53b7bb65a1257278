// What module.cpp binds from files of their own.
#pragma once

#include <pybind11/pybind11.h>

void bind_vector_scan(pybind11::module_& module);
