#include "services/control-plane/script_rules.h"

#include <algorithm>
#include <cctype>

namespace millrace::control_plane {
namespace {

constexpr size_t kMaxName = 100;
constexpr size_t kMaxDescription = 4'000;
constexpr size_t kMaxCode = 512 << 10;
constexpr size_t kMaxCredential = 64 << 10;
constexpr uint64_t kMaxMemory = 512 << 20;
constexpr uint64_t kMinMemory = 1 << 20;
constexpr uint32_t kMaxCpuMs = 10'000;
constexpr uint32_t kMaxFetches = 100;

template <typename... Args>
Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return Error(StatusCode::kInvalidArgument, format, std::forward<Args>(args)...);
}

bool IsPlain(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return std::iscntrl(c) != 0; });
}

bool IsImportName(std::string_view name) {
  return !name.empty() && std::islower(static_cast<unsigned char>(name.front())) != 0 &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0; });
}

}  // namespace

std::string CamelCase(std::string_view name) {
  std::string made;
  bool upper = false;
  for (const char one : name) {
    const auto c = static_cast<unsigned char>(one);
    if (std::isalnum(c) == 0) {
      upper = !made.empty();
      continue;
    }
    if (made.empty() && std::isdigit(c) != 0) continue;  // a name cannot begin with one
    made += static_cast<char>(made.empty() ? std::tolower(c) : upper ? std::toupper(c) : c);
    upper = false;
  }
  return made;
}

Status CheckScript(config::v1::ScriptType type, const config::v1::Script& script,
                   const config::v1::Script* existing) {
  if (script.name().empty()) return Invalid("name: is missing");
  if (script.name().size() > kMaxName || !IsPlain(script.name())) {
    return Invalid("name: must be at most {} bytes without control characters", kMaxName);
  }
  if (script.description().size() > kMaxDescription) {
    return Invalid("description: must be at most {} bytes", kMaxDescription);
  }
  if (type == config::v1::TRANSFORMATION) {
    if (!script.import_name().empty()) return Invalid("importName: only libraries have one");
    return OkStatus();
  }
  if (!IsImportName(script.import_name()) || script.import_name().size() > kMaxName) {
    return Invalid("importName: '{}' must be letters and digits in camelCase, e.g. myLibrary",
                   script.import_name());
  }
  if (existing != nullptr && existing->import_name() != script.import_name()) {
    return Invalid(
        "importName: stays '{}', because code imports it by that name; make another library",
        existing->import_name());
  }
  return OkStatus();
}

Status CheckVersion(config::v1::ScriptType type, const config::v1::ScriptVersion& version) {
  if (version.code().empty()) return Invalid("code: is missing");
  if (version.code().size() > kMaxCode) {
    return Invalid("code: is {} bytes, the limit is {}", version.code().size(), kMaxCode);
  }
  if (type == config::v1::LIBRARY) {
    if (version.kind() != config::v1::JAVASCRIPT) return Invalid("kind: a library is JavaScript");
    if (!version.libraries().empty()) return Invalid("libraries: only transformations list them");
    if (version.has_limits()) return Invalid("limits: only transformations have them");
    return OkStatus();
  }
  const auto& limits = version.limits();
  if (limits.memory_bytes() != 0 &&
      (limits.memory_bytes() < kMinMemory || limits.memory_bytes() > kMaxMemory)) {
    return Invalid("limits.memoryBytes: must be {} to {}, or 0 for 64 MB", kMinMemory, kMaxMemory);
  }
  if (limits.cpu_ms() > kMaxCpuMs) {
    return Invalid("limits.cpuMs: must be at most {}, or 0 for 1000", kMaxCpuMs);
  }
  if (limits.fetches() > kMaxFetches) {
    return Invalid("limits.fetches: must be at most {}, or 0 for 10", kMaxFetches);
  }
  return OkStatus();
}

Status CheckCredential(const config::v1::Credential& credential) {
  if (credential.key().empty()) return Invalid("key: is missing");
  if (credential.key().size() > kMaxName || !IsPlain(credential.key())) {
    return Invalid("key: must be at most {} bytes without control characters", kMaxName);
  }
  if (credential.value().empty())
    return Invalid("value: of credential '{}' is missing", credential.key());
  if (credential.value().size() > kMaxCredential) {
    return Invalid("value: of credential '{}' is {} bytes, the limit is {}", credential.key(),
                   credential.value().size(), kMaxCredential);
  }
  return OkStatus();
}

bool IsMasked(std::string_view value) {
  return value.substr(0, 3) == "***";
}

config::v1::TransformationVersion ToTransformationVersion(
    const std::string& transformation_id, const config::v1::ScriptVersion& version) {
  config::v1::TransformationVersion made;
  made.set_id(version.id());
  made.set_transformation_id(transformation_id);
  made.set_number(version.number());
  made.set_kind(version.kind());
  made.set_code(version.code());
  *made.mutable_libraries() = version.libraries();
  if (version.has_limits()) *made.mutable_limits() = version.limits();
  made.set_created_at_us(version.created_at_us());
  made.set_note(version.note());
  return made;
}

config::v1::LibraryVersion ToLibraryVersion(const config::v1::Script& library,
                                            const config::v1::ScriptVersion& version) {
  config::v1::LibraryVersion made;
  made.set_id(version.id());
  made.set_library_id(library.id());
  made.set_import_name(library.import_name());
  made.set_number(version.number());
  made.set_code(version.code());
  made.set_created_at_us(version.created_at_us());
  return made;
}

}  // namespace millrace::control_plane
