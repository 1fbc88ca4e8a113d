#include "libs/destination/script_mapper.h"

#include "libs/base/hash.h"
#include "libs/destination/catalogue_functions.h"
#include "libs/destination/mapped_request.h"
#include "libs/json/writer.h"

namespace millrace::destination {
namespace {

/// What a batch on its way needs, so that the mapper itself may go first.
struct Shared {
  std::shared_ptr<const script::Module> module;
  std::chrono::milliseconds timeout{0};  // 0: the client's default
  RequestDecoder decoder;                // the pool thread's
};

MapResult ToResult(script::CallOutput output, std::string_view event, Shared* shared) {
  MapResult result;
  switch (output.outcome) {
    case script::Outcome::kNothing:
      return result;
    case script::Outcome::kValue: {
      const Status status = shared->decoder.Decode(&output.value, event, &result.requests);
      if (!status.ok()) {
        result.requests.clear();
        result.error = Message(status);
      } else if (shared->timeout.count() > 0) {
        for (Prepared& request : result.requests) request.timeout = shared->timeout;
      }
      return result;
    }
    case script::Outcome::kError:
      break;
    case script::Outcome::kEngineFault:
      result.engine_fault = true;
      break;
  }
  result.error = std::move(output.error);
  result.stack = std::move(output.stack);
  return result;
}

/// What context.changed answers from; "" when nothing is changed.
std::string ChangedJson(const std::vector<std::string>& keys) {
  std::string json;
  for (const std::string& key : keys) {
    json.push_back(json.empty() ? '[' : ',');
    json::AppendQuoted(key, &json);
  }
  if (!json.empty()) json.push_back(']');
  return json;
}

class ScriptMapper final : public Mapper {
 public:
  ScriptMapper(std::shared_ptr<Shared> shared, script::WorkerPool& pool)
      : shared_(std::move(shared)), pool_(pool) {}

  void Map(std::vector<MapInput> inputs, MapDone done) override {
    std::vector<script::CallInput> calls;
    std::vector<Bytes> events;  // for context.raw; the bytes are shared, not copied
    calls.reserve(inputs.size());
    events.reserve(inputs.size());
    for (MapInput& input : inputs) {
      events.push_back(input.event);
      calls.push_back({.event = std::move(input.event),
                       .now_us = input.now_us,
                       .seed = std::move(input.uuid_seed),
                       .extra_json = ChangedJson(input.changed_keys)});
    }
    pool_.Call(
        shared_->module, std::move(calls),
        [shared = shared_, events = std::move(events),
         done = std::move(done)](std::vector<script::CallOutput> outputs) {
          std::vector<MapResult> results;
          results.reserve(outputs.size());
          for (size_t i = 0; i < outputs.size(); ++i) {
            results.push_back(ToResult(std::move(outputs[i]), events[i].view(), shared.get()));
          }
          done(std::move(results));
        });
  }

 private:
  const std::shared_ptr<Shared> shared_;
  script::WorkerPool& pool_;
};

}  // namespace

StatusOr<std::shared_ptr<Mapper>> MakeMapper(const v1::Definition& definition,
                                             const std::string& mapping_source,
                                             const Config& config, script::WorkerPool& pool) {
  auto shared = std::make_shared<Shared>();
  shared->module = std::make_shared<const script::Module>(
      script::Module{.id = definition.id() + "/mapping.js",
                     .version = Sha256Hex(mapping_source).substr(0, 12),
                     .source = mapping_source,
                     .config_json = config.json()});
  shared->timeout = std::chrono::milliseconds(definition.limits().timeout_ms());
  MR_RETURN_IF_ERROR(pool.Load(shared->module));
  return StatusOr<std::shared_ptr<Mapper>>(std::make_shared<ScriptMapper>(std::move(shared), pool));
}

std::function<StatusOr<std::shared_ptr<Mapper>>(const config::v1::Destination&)> MappersOf(
    const Catalogue& catalogue, script::WorkerPool& scripts) {
  return [&catalogue, &scripts](
             const config::v1::Destination& configured) -> StatusOr<std::shared_ptr<Mapper>> {
    const DestinationType* found = catalogue.Find(configured.type());
    if (found == nullptr) return UnknownType(catalogue, configured.type());
    MR_ASSIGN_OR_RETURN(const Config config,
                        NormaliseConfig(found->definition, configured.config_json()));
    return MakeMapper(found->definition, found->mapping_source, config, scripts);
  };
}

}  // namespace millrace::destination
