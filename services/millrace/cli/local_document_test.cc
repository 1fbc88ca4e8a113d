#include "services/millrace/cli/local_document.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>

#include "libs/base/file.h"
#include "libs/base/ids.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

struct Folder {
  Folder() : path((std::filesystem::temp_directory_path() / ("document-" + NewUuid())).string()) {
    REQUIRE(MakeFolders(path + "/code").ok());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  void Write(const std::string& name, const std::string& text) const {
    REQUIRE(WriteFileAtomically(path + "/" + name, text, 0600).ok());
  }
  const std::string path;
};

std::optional<std::string> Variable(const std::string& name) {
  if (name == "API_KEY") return "s3cr3t";
  return std::nullopt;
}

}  // namespace

TEST_CASE("a document takes code from files and values from the environment", "[cli]") {
  Folder folder;
  folder.Write("code/clean.js", "export function transformEvent(e) { return e; }");
  folder.Write("code/drop.yaml", "rules: []");
  folder.Write("workspace.yaml",
               "transformations:\n"
               "  - {name: clean, file: code/clean.js}\n"
               "  - {name: drop, file: code/drop.yaml}\n"
               "libraries: [{name: text, code: 'export const a = 1'}]\n"
               "credentials: [{key: k, valueFrom: {env: API_KEY}}, {key: l, value: open}]\n");
  const auto document = ReadDocument(folder.path + "/workspace.yaml", Variable);
  INFO(Message(document.status()));
  REQUIRE(document.ok());
  CHECK(
      (*document)["transformations"] ==
      Json::parse(R"([{"name": "clean", "code": "export function transformEvent(e) { return e; }"},
                        {"name": "drop", "code": "rules: []", "kind": "rules"}])"));
  CHECK((*document)["libraries"][0]["code"] == "export const a = 1");
  CHECK((*document)["credentials"][0] == Json{{"key", "k"}, {"value", "s3cr3t"}});
}

TEST_CASE("what a document lacks is named with its place", "[cli]") {
  struct Case {
    std::string text, message;
  };
  const auto c = GENERATE(values<Case>({
      {"transformations: [{name: a, file: none.js}]", "transformations[0].file: "},
      {"transformations: [{name: a, file: 1}]", "'file' must be the path"},
      {"libraries: [{name: a, file: x.js, code: y}]", "libraries[0]: has both"},
      {"credentials: [{key: a, valueFrom: {env: NONE}}]",
       "credentials[0]: the environment variable NONE is not set"},
      {"credentials: [{key: a, valueFrom: API_KEY}]", "'valueFrom' must be {env: NAME}"},
      {"credentials: [{key: a, value: x, valueFrom: {env: API_KEY}}]", "has both 'value' and"},
      {"sources: [", "line"},
  }));
  CAPTURE(c.text);
  Folder folder;
  folder.Write("workspace.yaml", c.text);
  const auto document = ReadDocument(folder.path + "/workspace.yaml", Variable);
  INFO(Message(document.status()));
  CHECK(Message(document.status()).find(c.message) != std::string_view::npos);
}

}  // namespace millrace::cli
