// Writes the catalogue's source: millrace_embed_destinations OUT.cc FOLDER...
#include <google/protobuf/util/json_util.h>

#include <cstdlib>
#include <iostream>

#include "libs/base/file.h"
#include "libs/destination/definition.h"

namespace millrace::destination {
namespace {

constexpr std::string_view kEndMark = ")mr~embedded\"";

StatusOr<std::string> Literal(const std::string& text, const std::string& path) {
  if (text.find(kEndMark) != std::string::npos) {
    return Error(StatusCode::kInvalidArgument, "{}: contains the text {}", path, kEndMark);
  }
  return "R\"mr~embedded(" + text + std::string(kEndMark);
}

Status Run(const std::string& out, const std::vector<std::string>& folders) {
  std::string source =
      "// Generated from the definitions of destinations and warehouses.\n"
      "#include \"libs/destination/builtin.h\"\n\n"
      "namespace millrace::destination {\n\n"
      "std::vector<EmbeddedType> EmbeddedTypes() {\n  return {\n";
  for (const std::string& folder : folders) {
    MR_ASSIGN_OR_RETURN(const v1::Definition definition, ReadDefinition(folder));
    std::string json;
    if (!google::protobuf::util::MessageToJsonString(definition, &json).ok()) {
      return Error(StatusCode::kInternal, "{}: cannot be written as JSON", folder);
    }
    std::string mapping;
    if (definition.kind() == v1::HTTP_DESTINATION) {
      MR_ASSIGN_OR_RETURN(mapping, ReadFile(folder + "/mapping.js"));
    }
    MR_ASSIGN_OR_RETURN(const std::string definition_text, Literal(json, folder));
    MR_ASSIGN_OR_RETURN(const std::string mapping_text, Literal(mapping, folder));
    source += "      {" + definition_text + ",\n       " + mapping_text + "},\n";
  }
  source += "  };\n}\n\n}  // namespace millrace::destination\n";
  return WriteFileAtomically(out, source, 0644);
}

}  // namespace
}  // namespace millrace::destination

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: millrace_embed_destinations OUT.cc FOLDER...\n";
    return EXIT_FAILURE;
  }
  const millrace::Status status =
      millrace::destination::Run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
  if (!status.ok()) std::cerr << millrace::Message(status) << '\n';
  return status.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
