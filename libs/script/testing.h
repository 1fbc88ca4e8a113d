#pragma once

#include "libs/script/worker.h"

/// For one source file of a test binary whose main is Catch2's: runs the worker before main.
namespace millrace::script {

__attribute__((constructor)) static void RunWorkerBeforeMain(int argc, char** argv, char**) {
  MaybeRunWorker(argc, argv);
}

}  // namespace millrace::script
