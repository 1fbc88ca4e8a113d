#include "libs/destination/catalogue.h"

#include <catch2/catch.hpp>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace millrace::destination {
namespace {

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/millrace-catalogue-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  void Write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((path_ / file).parent_path());
    std::ofstream(path_ / file) << text;
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

constexpr const char* kDefinition =
    "id: acme\ndisplay_name: Acme\ncategory: test\nfields:\n  - {name: key, required: true, doc: "
    "The key.}\n";

TEST_CASE("the folders of the repository are compiled in") {
  const Catalogue catalogue = Catalogue::Builtin();
  const DestinationType* webhook = catalogue.Find("webhook");
  REQUIRE(webhook != nullptr);
  CHECK(webhook == catalogue.Find("WEBHOOK"));
  CHECK(webhook->definition.type() == "WEBHOOK");
  CHECK_THAT(webhook->mapping_source, Catch::Contains("export function map"));
  CHECK(catalogue.Find("NO_SUCH") == nullptr);
  CHECK(catalogue.List().size() >= 2);
}

TEST_CASE("a folder given at run time adds types") {
  const TempFolder folder;
  folder.Write("acme/definition.yaml", kDefinition);
  folder.Write("acme/mapping.js", "export const map = () => null;");
  Catalogue catalogue = Catalogue::Builtin();
  const Status status = catalogue.LoadFolder(folder.path());
  INFO(Message(status));
  REQUIRE(status.ok());
  REQUIRE(catalogue.Find("ACME") != nullptr);
  CHECK(catalogue.Find("WEBHOOK") != nullptr);
}

TEST_CASE("a wrong definition names file and field") {
  const TempFolder folder;
  folder.Write("acme/mapping.js", "export const map = () => null;");
  const auto load = [&](const std::string& text) {
    folder.Write("acme/definition.yaml", text);
    Catalogue catalogue;
    return std::string(Message(catalogue.LoadFolder(folder.path())));
  };
  CHECK_THAT(load(std::string(kDefinition) + "categry: x\n"),
             Catch::Contains("acme/definition.yaml") && Catch::Contains("categry"));
  CHECK_THAT(load("id: other\ndisplay_name: A\ncategory: c\n"),
             Catch::Contains("folder's name 'acme'"));
  CHECK_THAT(load("id: acme\ndisplay_name: A\ncategory: c\nfields: [{name: k}]\n"),
             Catch::Contains("fields[0].doc"));
  Catalogue catalogue;
  CHECK(catalogue.LoadFolder(folder.path() + "/none").code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::destination
