#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/transformation/rules_program.h"
#include "libs/transformation/transformer.h"

namespace millrace::transformation::rules {

/// Reads rules (docs/rules.md). Null when there are `faults`, which are all that was found.
/// `workspace` holds the credentials that may salt a hash.
std::unique_ptr<const Program> CompileRules(const std::string& yaml,
                                            const config::v1::Workspace& workspace,
                                            std::vector<CodeFault>* faults);

}  // namespace millrace::transformation::rules
