#include "libs/transformation/transformer.h"

#include <future>

namespace millrace::transformation {

std::vector<Output> RunAndWait(Transformer& transformer, std::vector<Input> inputs,
                               const RunContext& context) {
  std::promise<std::vector<Output>> promise;
  std::future<std::vector<Output>> future = promise.get_future();
  transformer.Run(std::move(inputs), context, [&promise](std::vector<Output> outputs) {
    promise.set_value(std::move(outputs));
  });
  return future.get();
}

}  // namespace millrace::transformation
