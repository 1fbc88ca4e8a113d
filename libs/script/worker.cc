#include "libs/script/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "libs/script/engine.h"
#include "libs/script/sandbox.h"
#include "libs/script/wire.h"

namespace millrace::script {
namespace {

using wire::Type;

// Results go back at this age or size, so that the pool sees progress and can tell a long batch
// from one that hangs.
constexpr int64_t kFlushUs = 10'000;
constexpr size_t kFlushBytes = 256 << 10;

int64_t MonotonicUs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

struct Loaded {
  Module module;
  std::unique_ptr<Instance> instance;
};

class Worker {
 public:
  explicit Worker(int fd) : fd_(fd), engine_(MakeQuickJsEngine()) {}

  [[noreturn]] void Run() {
    const size_t hello = wire::BeginFrame(&out_, Type::kHello);
    wire::EndFrame(&out_, hello);
    Flush();
    std::string payload;
    while (true) {
      char header[wire::kHeaderBytes];
      Receive(header, sizeof(header));
      uint32_t size = 0;
      std::memcpy(&size, header, sizeof(size));
      if (size > wire::kMaxFrameBytes) Exit(3);
      payload.resize(size);
      Receive(payload.data(), size);
      wire::Reader reader(payload);
      switch (static_cast<Type>(header[4])) {
        case Type::kLoad:
          Load(reader);
          break;
        case Type::kDrop:
          modules_.erase(reader.Get<uint32_t>());
          break;
        case Type::kCall:
          Call(reader);
          break;
        default:
          Exit(3);
      }
      Flush();
    }
  }

 private:
  // Destructors of a process that holds hostile heaps are not worth running.
  [[noreturn]] static void Exit(int code) { _exit(code); }

  void Receive(char* data, size_t size) {
    while (size > 0) {
      const ssize_t count = recv(fd_, data, size, 0);
      if (count == 0) Exit(0);
      if (count < 0) {
        if (errno == EINTR) continue;
        Exit(0);
      }
      data += count;
      size -= static_cast<size_t>(count);
    }
  }

  void Flush() {
    std::string_view rest = out_;
    while (!rest.empty()) {
      const ssize_t count = send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (count < 0) {
        if (errno == EINTR) continue;
        Exit(0);
      }
      rest.remove_prefix(static_cast<size_t>(count));
    }
    out_.clear();
  }

  void Load(wire::Reader& reader) {
    const auto number = reader.Get<uint32_t>();
    Module module;
    module.id = reader.GetText();
    module.version = reader.GetText();
    module.source = reader.GetText();
    module.entry = reader.GetText();
    module.config_json = reader.GetText();
    module.limits.memory_bytes = reader.Get<uint64_t>();
    module.limits.cpu_time = std::chrono::milliseconds(reader.Get<int64_t>());
    module.limits.stack_bytes = reader.Get<uint64_t>();
    module.limits.result_bytes = reader.Get<uint64_t>();
    for (auto left = reader.Get<uint32_t>(); left > 0; --left) {
      std::string name(reader.GetText());
      module.libraries.emplace_back(std::move(name), std::string(reader.GetText()));
    }
    if (!reader.ok()) Exit(3);
    auto instance = engine_->Load(module);
    const size_t frame = wire::BeginFrame(&out_, Type::kLoaded);
    wire::Put<uint8_t>(&out_, instance.ok() ? 1 : 0);
    wire::PutText(&out_, Message(instance.status()));
    wire::EndFrame(&out_, frame);
    if (instance.ok()) modules_[number] = Loaded{std::move(module), *std::move(instance)};
  }

  void Call(wire::Reader& reader) {
    const auto found = modules_.find(reader.Get<uint32_t>());
    if (found == modules_.end()) Exit(3);
    Loaded& loaded = found->second;
    int64_t flushed_us = MonotonicUs();
    for (auto left = reader.Get<uint32_t>(); left > 0; --left) {
      CallView call;
      call.now_us = reader.Get<int64_t>();
      call.seed = reader.GetText();
      call.event = reader.GetText();
      reader.Get<char>();  // the NUL
      if (!reader.ok()) Exit(3);
      Append(Answer(loaded, call));
      const int64_t now = MonotonicUs();
      if (now - flushed_us >= kFlushUs || out_.size() >= kFlushBytes) {
        Flush();
        flushed_us = now;
      }
    }
  }

  CallOutput Answer(Loaded& loaded, const CallView& call) {
    if (loaded.instance == nullptr) {
      auto instance = engine_->Load(loaded.module);
      if (!instance.ok()) {
        return {.outcome = Outcome::kError, .error = std::string(Message(instance.status()))};
      }
      loaded.instance = *std::move(instance);
    }
    CallOutput output = loaded.instance->Call(call);
    if (loaded.instance->spent()) loaded.instance = nullptr;
    return output;
  }

  void Append(const CallOutput& output) {
    const size_t frame = wire::BeginFrame(&out_, Type::kResults);
    wire::Put<uint8_t>(&out_, static_cast<uint8_t>(output.outcome));
    wire::PutText(&out_, output.value);
    wire::PutText(&out_, output.error);
    wire::PutText(&out_, output.stack);
    wire::PutText(&out_, output.log);
    wire::EndFrame(&out_, frame);
  }

  const int fd_;
  std::unique_ptr<Engine> engine_;
  std::unordered_map<uint32_t, Loaded> modules_;
  std::string out_;
};

}  // namespace

void MaybeRunWorker(int argc, char** argv) {
  if (argc != 4 || std::strcmp(argv[1], kWorkerArgument) != 0) return;
  const int fd = std::atoi(argv[2]);
  prctl(PR_SET_NAME, "millrace-script", 0, 0, 0);
  signal(SIGINT, SIG_IGN);  // the terminal's; the pool ends its workers itself
  if (const Status status = EnterSandbox(std::strtoull(argv[3], nullptr, 10)); !status.ok()) {
    const std::string line = fmt::format("{}\n", Message(status));
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) _exit(4);
    _exit(4);
  }
  Worker(fd).Run();
}

}  // namespace millrace::script
