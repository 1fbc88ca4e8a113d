#include "libs/script/worker_frames.h"

namespace millrace::script {

using wire::Type;

std::shared_ptr<const Module> ReadModule(wire::Reader& reader) {
  auto module = std::make_shared<Module>();
  for (std::string* text : {&module->id, &module->version, &module->source, &module->entry,
                            &module->adapter, &module->config_json}) {
    *text = reader.GetText();
  }
  module->sequential = reader.Get<uint8_t>() != 0;
  module->limits.memory_bytes = reader.Get<uint64_t>();
  module->limits.cpu_time = std::chrono::milliseconds(reader.Get<int64_t>());
  module->limits.stack_bytes = reader.Get<uint64_t>();
  module->limits.result_bytes = reader.Get<uint64_t>();
  for (auto left = reader.Get<uint32_t>(); left > 0 && reader.ok(); --left) {
    module->wanted_exports.emplace_back(reader.GetText());
  }
  for (auto left = reader.Get<uint32_t>(); left > 0 && reader.ok(); --left) {
    std::string name(reader.GetText());
    module->libraries.emplace_back(std::move(name), std::string(reader.GetText()));
  }
  return reader.ok() ? module : nullptr;
}

void AppendResult(uint32_t job, uint32_t input, const CallOutput& output, std::string* out) {
  const size_t frame = wire::BeginFrame(out, Type::kResults);
  wire::Put<uint32_t>(out, job);
  wire::Put<uint32_t>(out, input);
  wire::Put<uint8_t>(out, static_cast<uint8_t>(output.outcome));
  wire::Put<uint8_t>(out, static_cast<uint8_t>(output.error_class));
  wire::Put<int64_t>(out, output.cpu_us);
  wire::Put<uint64_t>(out, output.peak_bytes);
  for (const std::string* text : {&output.value, &output.error, &output.stack, &output.log}) {
    wire::PutText(out, *text);
  }
  wire::Put<uint32_t>(out, static_cast<uint32_t>(output.emitted.size()));
  for (const Emitted& emitted : output.emitted) {
    wire::Put<uint32_t>(out, emitted.index);
    wire::Put<uint8_t>(out, emitted.failed ? 1 : 0);
    wire::Put<uint8_t>(out, static_cast<uint8_t>(emitted.error_class));
    wire::PutText(out, emitted.text);
    wire::PutText(out, emitted.stack);
  }
  wire::EndFrame(out, frame);
}

void AppendInspection(const StatusOr<Inspection>& inspection, const SourceFault& fault,
                      std::string* out) {
  const size_t frame = wire::BeginFrame(out, Type::kInspected);
  wire::Put<uint8_t>(out, inspection.ok() ? 1 : 0);
  wire::PutText(out, Message(inspection.status()));
  wire::PutText(out, fault.message);
  wire::Put<int32_t>(out, fault.line);
  wire::Put<int32_t>(out, fault.column);
  const Inspection found = inspection.ok() ? *inspection : Inspection();
  for (const auto* names : {&found.imports, &found.exports}) {
    wire::Put<uint32_t>(out, static_cast<uint32_t>(names->size()));
    for (const std::string& each : *names) wire::PutText(out, each);
  }
  wire::EndFrame(out, frame);
}

}  // namespace millrace::script
