#include "libs/transformation/script_transformer.h"

#include <algorithm>
#include <utility>

#include "libs/transformation/script_host.h"

namespace millrace::transformation {
namespace {

/// Events that one call of transformBatch gets at most.
constexpr size_t kBatchEvents = 100;
/// The adapter's name for the error of a script that worked but returned what cannot be.
constexpr std::string_view kInvalidResult = "InvalidResult: ";

const char* ClassName(script::ErrorClass error_class) {
  switch (error_class) {
    case script::ErrorClass::kTimeout:
      return "timeout";
    case script::ErrorClass::kMemory:
      return "memory";
    case script::ErrorClass::kStack:
      return "stack";
    case script::ErrorClass::kResultTooLarge:
      return "result_too_large";
    case script::ErrorClass::kEngine:
      return "engine";
    case script::ErrorClass::kNone:
    case script::ErrorClass::kThrown:
      break;
  }
  return "thrown";
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

void SetError(std::string message, std::string_view stack, const secrets::Mask& mask,
              Output* output) {
  output->events.clear();
  if (message.compare(0, kInvalidResult.size(), kInvalidResult) == 0) {
    message.erase(0, kInvalidResult.size());
    output->error_class = "invalid_result";
    stack = {};
  }
  if (message.empty()) message = "the transformation failed without a message";
  output->error = mask.Apply(std::move(message));
  output->stack = mask.Apply(std::string(stack));
}

void AddEvent(std::string json, Output* output) {
  if (!output->error.empty()) return;
  // An object whose toJSON gives something else.
  if (json.empty() || json.front() != '{') {
    output->events.clear();
    output->error = "returned event is not an object once it is written as JSON";
    output->error_class = "invalid_result";
    return;
  }
  output->events.emplace_back(std::move(json));
}

/// What `call` says about the event or events that it was given.
void TakeOutputs(script::CallOutput call, const secrets::Mask& mask, Output* outputs,
                 size_t count) {
  const auto share = static_cast<int64_t>(count);
  for (size_t i = 0; i < count; ++i) {
    outputs[i].cpu_us = call.cpu_us / share;
    outputs[i].peak_bytes = call.peak_bytes;
  }
  outputs[0].cpu_us += call.cpu_us % share;
  outputs[0].log = Lines(mask.Apply(std::move(call.log)));
  if (call.outcome == script::Outcome::kError || call.outcome == script::Outcome::kEngineFault) {
    const bool engine = call.outcome == script::Outcome::kEngineFault;
    for (size_t i = 0; i < count; ++i) {
      const bool known = !engine || call.error_class == script::ErrorClass::kResultTooLarge;
      outputs[i].error_class = known ? ClassName(call.error_class) : "engine";
      outputs[i].again = engine;
      SetError(call.error, call.stack, mask, &outputs[i]);
    }
    return;
  }
  for (script::Emitted& one : call.emitted) {
    Output& output = outputs[std::min<size_t>(one.index, count - 1)];
    if (one.failed) {
      output.error_class = "invalid_result";
      SetError(std::move(one.text), one.stack, mask, &output);
    } else {
      AddEvent(std::move(one.text), &output);
    }
  }
  if (call.outcome == script::Outcome::kValue) AddEvent(std::move(call.value), &outputs[0]);
}

Bytes JoinEvents(const Input* inputs, size_t count) {
  std::string joined = "[";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) joined.push_back(',');
    joined.append(inputs[i].event.view());
  }
  joined.push_back(']');
  return Bytes(std::move(joined));
}

std::string JoinMetadata(const Input* inputs, size_t count) {
  std::string joined = "[";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) joined.push_back(',');
    joined.append(inputs[i].metadata_json.empty() ? "{}" : inputs[i].metadata_json);
  }
  joined.push_back(']');
  return joined;
}

/// What a batch on its way needs, so that the transformer may go first.
struct Shared {
  ScriptVersion version;
  TransformerFactoryOptions options;

  void Call(std::vector<script::CallInput> calls, std::vector<uint32_t> fetches,
            const RunContext& context, script::CallDone done) {
    script::CallOptions call_options;
    call_options.host = MakeScriptHost({.fetcher = options.fetcher,
                                        .geolocation = options.geolocation,
                                        .state = context.state,
                                        .stateful = version.stateful,
                                        .workspace_id = version.workspace_id,
                                        .fetches = std::move(fetches)});
    call_options.shared_json = context.metadata_json;
    call_options.test = context.test;
    call_options.output_budget = context.output_budget;
    options.pool->Call(version.module, std::move(calls), std::move(call_options), std::move(done));
  }
};

/// transformBatch over one Run: group after group, each in one call. The events of a group whose
/// call fails are called again one by one, so that only those at fault fail. Keeps itself alive.
class BatchRun : public std::enable_shared_from_this<BatchRun> {
 public:
  BatchRun(std::shared_ptr<Shared> shared, std::vector<Input> inputs, RunContext context,
           RunDone done)
      : shared_(std::move(shared)),
        inputs_(std::move(inputs)),
        context_(std::move(context)),
        done_(std::move(done)),
        outputs_(inputs_.size()) {}

  void NextGroup() {
    begin_ = end_;
    if (begin_ == inputs_.size()) return done_(std::move(outputs_));
    end_ = std::min(begin_ + kBatchEvents, inputs_.size());
    const size_t count = end_ - begin_;
    std::vector<script::CallInput> calls;
    calls.push_back(Input(begin_, count));
    shared_->Call(std::move(calls), {static_cast<uint32_t>(shared_->version.fetches * count)},
                  context_,
                  [self = shared_from_this(), count](std::vector<script::CallOutput> outputs) {
                    const bool failed = outputs[0].outcome == script::Outcome::kError ||
                                        outputs[0].outcome == script::Outcome::kEngineFault;
                    const ByteBudget* budget = self->context_.output_budget.get();
                    const bool full = budget != nullptr && budget->overdrawn();
                    if (failed && count > 1 && !full) return self->OneByOne();
                    TakeOutputs(std::move(outputs[0]), self->shared_->version.mask,
                                &self->outputs_[self->begin_], count);
                    self->NextGroup();
                  });
  }

 private:
  script::CallInput Input(size_t begin, size_t count) const {
    return {.event = JoinEvents(&inputs_[begin], count),
            .now_us = inputs_[begin].now_us,
            .seed = inputs_[begin].seed,
            .extra_json = JoinMetadata(&inputs_[begin], count),
            .order = 1};
  }

  void OneByOne() {
    std::vector<script::CallInput> calls;
    for (size_t i = begin_; i < end_; ++i) calls.push_back(Input(i, 1));
    std::vector<uint32_t> fetches(calls.size(), shared_->version.fetches);
    shared_->Call(std::move(calls), std::move(fetches), context_,
                  [self = shared_from_this()](std::vector<script::CallOutput> outputs) {
                    for (size_t i = 0; i < outputs.size(); ++i) {
                      TakeOutputs(std::move(outputs[i]), self->shared_->version.mask,
                                  &self->outputs_[self->begin_ + i], 1);
                    }
                    self->NextGroup();
                  });
  }

  const std::shared_ptr<Shared> shared_;
  const std::vector<transformation::Input> inputs_;
  const RunContext context_;
  const RunDone done_;
  std::vector<Output> outputs_;
  size_t begin_ = 0;  // of the group under way
  size_t end_ = 0;
};

class ScriptTransformer final : public Transformer {
 public:
  explicit ScriptTransformer(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  const std::string& version_id() const override { return shared_->version.id; }
  bool stateful() const override { return shared_->version.stateful; }

  void Run(std::vector<Input> inputs, const RunContext& context, RunDone done) override {
    if (inputs.empty()) return done({});
    if (shared_->version.batch) {
      std::make_shared<BatchRun>(shared_, std::move(inputs), context, std::move(done))->NextGroup();
      return;
    }
    std::vector<script::CallInput> calls;
    calls.reserve(inputs.size());
    for (Input& input : inputs) {
      calls.push_back({.event = std::move(input.event),
                       .now_us = input.now_us,
                       .seed = std::move(input.seed),
                       .extra_json = std::move(input.metadata_json),
                       .order = input.user});
    }
    std::vector<uint32_t> fetches(calls.size(), shared_->version.fetches);
    shared_->Call(
        std::move(calls), std::move(fetches), context,
        [shared = shared_, done = std::move(done)](std::vector<script::CallOutput> calls_done) {
          std::vector<Output> outputs(calls_done.size());
          for (size_t i = 0; i < outputs.size(); ++i) {
            TakeOutputs(std::move(calls_done[i]), shared->version.mask, &outputs[i], 1);
          }
          done(std::move(outputs));
        });
  }

 private:
  const std::shared_ptr<Shared> shared_;
};

}  // namespace

std::shared_ptr<Transformer> MakeScriptTransformer(ScriptVersion version,
                                                   const TransformerFactoryOptions& options) {
  return std::make_shared<ScriptTransformer>(
      std::make_shared<Shared>(Shared{std::move(version), options}));
}

}  // namespace millrace::transformation
