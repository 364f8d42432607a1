// LibTorch as this room takes it: tensors, autograd and custom functions. Not torch/torch.h, which takes twice as long
// to compile.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>
