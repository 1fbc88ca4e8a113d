#include "libs/script/worker_link.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace millrace::script {

using wire::Type;

Job* WorkerLink::FindJob(uint32_t id) const {
  for (const auto& job : jobs) {
    if (job->id == id) return job.get();
  }
  return nullptr;
}

std::unique_ptr<Job> WorkerLink::TakeJob(const Job* job) {
  const auto found =
      std::find_if(jobs.begin(), jobs.end(), [&](const auto& each) { return each.get() == job; });
  std::unique_ptr<Job> taken = std::move(*found);
  jobs.erase(found);
  if (loading == job) loading = nullptr;
  if (inspecting == job) inspecting = nullptr;
  return taken;
}

uint32_t WorkerLink::FindModule(const std::shared_ptr<const Module>& module) {
  const auto found = std::find_if(modules.begin(), modules.end(),
                                  [&](const auto& entry) { return entry.first == module; });
  if (found == modules.end()) return 0;
  modules.splice(modules.begin(), modules, found);
  return found->second;
}

void WorkerLink::SendLoad(Job& job, size_t max_modules) {
  if (modules.size() >= max_modules) {
    const size_t drop = wire::BeginFrame(&out, Type::kDrop);
    wire::Put<uint32_t>(&out, modules.back().second);
    EndFrame(drop);
    modules.pop_back();
  }
  const Module& module = *job.module;
  const size_t frame = wire::BeginFrame(&out, Type::kLoad);
  wire::Put<uint32_t>(&out, next_module);
  for (const std::string* text : {&module.id, &module.version, &module.source, &module.entry,
                                  &module.adapter, &module.config_json}) {
    wire::PutText(&out, *text);
  }
  wire::Put<uint8_t>(&out, module.sequential ? 1 : 0);
  wire::Put<uint64_t>(&out, module.limits.memory_bytes);
  wire::Put<int64_t>(&out, module.limits.cpu_time.count());
  wire::Put<uint64_t>(&out, module.limits.stack_bytes);
  wire::Put<uint64_t>(&out, module.limits.result_bytes);
  wire::Put<uint32_t>(&out, static_cast<uint32_t>(module.wanted_exports.size()));
  for (const std::string& name : module.wanted_exports) wire::PutText(&out, name);
  wire::Put<uint32_t>(&out, static_cast<uint32_t>(module.libraries.size()));
  for (const auto& [name, source] : module.libraries) {
    wire::PutText(&out, name);
    wire::PutText(&out, source);
  }
  // Of the first call that the module is loaded for.
  const CallInput* first = job.inputs.empty() ? nullptr : &job.inputs.front();
  wire::Put<int64_t>(&out, first != nullptr ? first->now_us : 0);
  wire::PutText(&out, first != nullptr ? std::string_view(first->seed) : std::string_view());
  EndFrame(frame);
  loading = &job;
}

void WorkerLink::SendCalls(Job& job, uint32_t module) {
  const size_t frame = wire::BeginFrame(&out, Type::kCall);
  wire::Put<uint32_t>(&out, job.id);
  wire::Put<uint32_t>(&out, module);
  const std::string* shared = job.options.shared_json.get();
  wire::Put<uint8_t>(
      &out, static_cast<uint8_t>((job.options.test ? 1 : 0) | (shared != nullptr ? 2 : 0)));
  wire::PutText(&out, shared != nullptr ? std::string_view(*shared) : std::string_view());
  out.push_back('\0');
  wire::Put<uint32_t>(&out, static_cast<uint32_t>(job.inputs.size() - job.ended_count));
  for (uint32_t i = 0; i < job.inputs.size(); ++i) {
    if (job.ended[i]) continue;
    const CallInput& input = job.inputs[i];
    wire::Put<uint32_t>(&out, i);
    wire::Put<uint64_t>(&out, input.order);
    wire::Put<int64_t>(&out, input.now_us);
    wire::PutText(&out, input.seed);
    wire::PutText(&out, input.event.view());
    out.push_back('\0');
    wire::PutText(&out, input.extra_json);
    out.push_back('\0');
  }
  EndFrame(frame);
}

void WorkerLink::SendInspect(Job& job) {
  const size_t frame = wire::BeginFrame(&out, Type::kInspect);
  wire::PutText(&out, job.name);
  wire::PutText(&out, job.source);
  EndFrame(frame);
  inspecting = &job;
}

void WorkerLink::SendAnswer(uint32_t request, const HostAnswer& answer) {
  const size_t frame = wire::BeginFrame(&out, Type::kAnswer);
  wire::Put<uint32_t>(&out, request);
  wire::Put<uint8_t>(&out, answer.failed ? 1 : 0);
  wire::PutText(&out, answer.text);
  wire::PutText(&out, answer.error_name);
  EndFrame(frame);
  if (blocked_on == request) blocked_on = 0;
}

bool WorkerLink::Push() {
  while (out_done < out.size()) {
    const ssize_t count =
        send(process.fd, out.data() + out_done, out.size() - out_done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    out_done += static_cast<size_t>(count);
  }
  out.clear();
  out_done = 0;
  return true;
}

bool WorkerLink::Receive(const std::function<bool(Type, std::string_view)>& handle) {
  constexpr size_t kReadBytes = 256 << 10;
  const size_t before = in.size();
  in.resize(before + kReadBytes);
  const ssize_t count = recv(process.fd, in.data() + before, kReadBytes, 0);
  in.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return false;
  while (in.size() - in_done >= wire::kHeaderBytes) {
    const char* header = in.data() + in_done;
    uint32_t size = 0;
    std::memcpy(&size, header, sizeof(size));
    if (size > wire::kMaxFrameBytes) return false;
    if (in.size() - in_done < wire::kHeaderBytes + size) break;
    in_done += wire::kHeaderBytes + size;
    if (!handle(static_cast<Type>(header[4]),
                std::string_view(header + wire::kHeaderBytes, size))) {
      return false;
    }
  }
  in.erase(0, in_done);
  in_done = 0;
  return true;
}

bool ReadResult(wire::Reader& reader, CallOutput* output) {
  const auto outcome = reader.Get<uint8_t>();
  const auto error_class = reader.Get<uint8_t>();
  if (outcome > static_cast<uint8_t>(Outcome::kError) ||
      error_class > static_cast<uint8_t>(ErrorClass::kEngine)) {
    return false;
  }
  output->outcome = static_cast<Outcome>(outcome);
  output->error_class = static_cast<ErrorClass>(error_class);
  output->cpu_us = reader.Get<int64_t>();
  output->peak_bytes = reader.Get<uint64_t>();
  for (std::string* text : {&output->value, &output->error, &output->stack, &output->log}) {
    text->assign(reader.GetText());
  }
  for (auto left = reader.Get<uint32_t>(); left > 0 && reader.ok(); --left) {
    Emitted& emitted = output->emitted.emplace_back();
    emitted.index = reader.Get<uint32_t>();
    emitted.failed = reader.Get<uint8_t>() != 0;
    const auto emitted_class = reader.Get<uint8_t>();
    if (emitted_class > static_cast<uint8_t>(ErrorClass::kEngine)) return false;
    emitted.error_class = static_cast<ErrorClass>(emitted_class);
    emitted.text = reader.GetText();
    emitted.stack = reader.GetText();
  }
  return reader.ok();
}

}  // namespace millrace::script
