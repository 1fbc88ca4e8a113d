#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace millrace::log {

enum class Level { kDebug, kInfo, kWarning, kError };

struct Options {
  Level level = Level::kInfo;
  bool json = false;
  std::string_view service = "millrace";  // a field of every line
};

/// Sets up the process's log on standard error. Before the first call lines go out as text.
void Init(const Options& options);
/// False when `name` is no level.
bool ParseLevel(std::string_view name, Level* level);
bool Enabled(Level level);
/// Any thread. Never hand it a secret, an event's body or a whole request.
void Write(Level level, std::string_view message);

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kDebug))
    Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kInfo)) Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kWarning))
    Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kError))
    Write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace millrace::log
