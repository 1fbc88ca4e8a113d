#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

/// Compares what a peer answered with what Millrace does. What is not compared, and why: README.md.
namespace millrace::conformance {

using Json = nlohmann::json;

/// One line of a stack, as far as two engines agree on it.
struct Frame {
  std::string function;  // empty: without a name
  std::string file;
  int line = 0;
  bool operator==(const Frame& other) const {
    return function == other.function && file == other.file && line == other.line;
  }
};

/// A text "Name: message\n    at f (file:1:2)\n...".
struct ErrorText {
  std::string message;        // with the name
  std::vector<Frame> frames;  // of files whose name `file_names` holds
};

/// How the user's files are called in a stack, and how we call them.
using FileNames = std::vector<std::pair<std::string, std::string>>;

ErrorText ReadError(std::string_view text, const FileNames& file_names);

/// What is different; empty: nothing. Ours may say more after the recorded message; of errors that
/// the peer's engine words itself only the name is compared.
std::string CompareErrors(const ErrorText& recorded, const ErrorText& ours);

/// Whether `ours` tells the error of `recorded`, both "Name: message", as CompareErrors has it.
bool SameMessage(const std::string& recorded, const std::string& ours);

/// The first difference, as "path: recorded X, ours Y"; empty: none.
std::string CompareJson(const Json& recorded, const Json& ours, const std::string& path = "");

}  // namespace millrace::conformance
