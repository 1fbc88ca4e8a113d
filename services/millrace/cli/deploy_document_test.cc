#include "services/millrace/cli/deploy_document.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

LocalTransformation Local(const std::string& name, const std::string& library,
                          const std::string& code) {
  LocalTransformation local;
  local.name = name;
  local.version.set_code("of " + name);
  auto* version = local.workspace.add_library_versions();
  version->set_import_name(library);
  version->set_code(code);
  local.workspace.add_credentials()->set_key("stays here");
  return local;
}

}  // namespace

TEST_CASE("a folder becomes one document, a library that many bring stands in it once", "[cli]") {
  auto drop = Local("drop", "text", "x");
  drop.version.set_kind(config::v1::RULES);
  drop.version.mutable_limits()->set_cpu_ms(5);
  const auto document = DeployDocument({Local("clean", "text", "x"), drop}, true);
  REQUIRE(document.ok());
  CHECK(*document ==
        Json::parse(R"({"libraries": [{"importName": "text", "code": "x", "publish": true}],
                        "transformations": [
                          {"name": "clean", "kind": "javascript", "code": "of clean", "publish": true},
                          {"name": "drop", "kind": "rules", "code": "of drop", "publish": true,
                           "limits": {"memoryBytes": 0, "cpuMs": 5, "fetches": 0}}]})"));
}

TEST_CASE("two libraries of one name are refused", "[cli]") {
  const auto document = DeployDocument({Local("a", "text", "x"), Local("b", "text", "y")}, false);
  CHECK(document.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(document.status()).find("'a' and 'b' each have another library 'text'") !=
        std::string_view::npos);
}

TEST_CASE("names become parts of paths", "[cli]") {
  CHECK(PathSegment("add field/1") == "add%20field%2F1");
  CHECK(PathSegment("plain-1_2.3~") == "plain-1_2.3~");
}

}  // namespace millrace::cli
