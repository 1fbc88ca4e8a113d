#include "services/millrace/cli/transform_project.h"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>

#include "libs/base/file.h"

namespace millrace::cli {
namespace {

/// A folder with the files that a test wants, gone with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char folder[] = "/tmp/millrace-project.XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    path_ = folder;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  void Add(const std::string& name, const std::string& text) const {
    const std::string file = path_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    REQUIRE(WriteFileAtomically(file, text, 0600).ok());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST_CASE("a project is read with libraries, credentials and fixtures", "[cli]") {
  const TemporaryFolder folder;
  folder.Add("b/transformation.js", "code of b");
  folder.Add("b/libraries/maths.js", "own");
  folder.Add("b/credentials.yaml", "token: s3cret\nnumber: '7'\n");
  folder.Add("b/tests/2.json", "{}");
  folder.Add("b/tests/1.json", "{}");
  folder.Add("b/tests/notes.txt", "");
  folder.Add("a/rules.yaml", "rules of a");
  folder.Add("libraries/maths.js", "shared");
  folder.Add("libraries/text.js", "shared");
  folder.Add("readme/README.md", "");
  const auto project = ReadProject(folder.path());
  REQUIRE(project.ok());
  REQUIRE(project->size() == 2);
  CHECK(project->at(0).name == "a");
  CHECK(project->at(0).version.kind() == config::v1::RULES);
  const LocalTransformation& b = project->at(1);
  CHECK(b.name == "b");
  CHECK(b.version.code() == "code of b");
  REQUIRE(b.workspace.library_versions_size() == 2);
  CHECK(b.workspace.library_versions(0).code() == "own");
  CHECK(b.workspace.library_versions(1).import_name() == "text");
  REQUIRE(b.workspace.credentials_size() == 2);
  CHECK(b.workspace.credentials(0).key() == "number");
  CHECK(b.workspace.credentials(1).value() == "s3cret");
  REQUIRE(b.fixtures.size() == 2);
  CHECK(b.fixtures[0] == folder.path() + "/b/tests/1.json");
  // The folder of one transformation is a project too.
  const auto one = ReadProject(folder.path() + "/b");
  REQUIRE(one.ok());
  CHECK(one->size() == 1);
}

TEST_CASE("a project that is none is told why", "[cli]") {
  struct Case {
    const char* file;
    const char* text;
    const char* error;
  };
  const auto c = GENERATE(values<Case>({
      {"x/other.js", "",
       "holds no transformation: a folder with transformation.js or rules.yaml is one"},
      {"x/credentials.yaml", "- a", "write 'key: value' lines"},
      {"x/credentials.yaml", "key: 7", "the value of 'key' is no text; put it in quotes"},
      {"x/libraries/my-text.js", "", "my-text.js: a library is imported by the name of its file"},
      {"x/rules.yaml", "", "has both transformation.js and rules.yaml; keep one"},
  }));
  CAPTURE(c.file);
  const TemporaryFolder folder;
  folder.Add(c.file, c.text);
  if (std::string(c.file) != "x/other.js") folder.Add("x/transformation.js", "");
  const auto project = ReadProject(folder.path());
  REQUIRE_FALSE(project.ok());
  CHECK(std::string(Message(project.status())).find(c.error) != std::string::npos);
  CHECK(ReadProject(folder.path() + "/none").status().code() == StatusCode::kNotFound);
}

}  // namespace
}  // namespace millrace::cli
