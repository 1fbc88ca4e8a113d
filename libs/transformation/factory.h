#pragma once

#include <memory>

#include "libs/script/worker_pool.h"
#include "libs/transformation/fetcher.h"
#include "libs/transformation/geolocation.h"
#include "libs/transformation/transformer.h"

namespace millrace::transformation {

/// What transformers run on. All of it outlives the factory and its transformers.
struct TransformerFactoryOptions {
  script::WorkerPool* pool = nullptr;  // must be there
  Fetcher* fetcher = nullptr;          // null: fetch fails in words
  Geolocation* geolocation = nullptr;  // null: geolocation fails in words
};

/// The factory of all kinds of transformations. Make and Check wait for the pool: not for its
/// thread.
std::unique_ptr<TransformerFactory> MakeTransformerFactory(
    const TransformerFactoryOptions& options);

}  // namespace millrace::transformation
