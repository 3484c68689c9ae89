/* cosctl/spec.h - arguments to a specification, by the tables of lib/model */
#pragma once

#include <jansson.h>

#include "cosctl/cosctl.h"

/* NAME... KEY=VALUE... and the options of create and run. The names are the caller's. */
int spec_from_args(struct args *a, json_t **ret, char ***ret_names, unsigned *ret_n,
		   struct cos_err *err);
/* For a change of what is there: adds KEY=VALUE to CHANGE; KEY= marks KEY to be removed. */
int spec_change_word(json_t *change, const char *word, struct cos_err *err);
/* --env options into OBJ's member "env". */
int env_from_args(const struct args *a, json_t *obj, struct cos_err *err);
/* N arguments as an array; NULL when one is not valid UTF-8, which JSON cannot carry. */
json_t *args_to_json(char *const *argv, int n, struct cos_err *err);
